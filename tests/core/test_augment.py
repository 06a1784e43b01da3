"""How a recipe is read."""

from __future__ import annotations

import re

import pytest

from opsin.core.augment import ALIASES, AUGMENTATIONS, PRESETS, normalise_augment, parse_augment
from opsin.core.config_checks import make_config
from opsin.core.errors import WrongUsage


def test_names_strengths_and_presets() -> None:
    assert parse_augment("trivial,cutmix") == (("trivial", None), ("cutmix", 1.0))
    assert parse_augment("mixup=0.3 , flip") == (("hflip", 0.5), ("mixup", 0.3))
    light = ["hflip", "translate", "zoom", "brightness", "contrast"]
    assert [name for name, _ in parse_augment("light")] == light
    assert [name for name, _ in parse_augment("rotate,light")] == [light[0], "rotate", *light[1:]]
    assert parse_augment("none") == ()


def test_every_name_alone_and_its_bounds() -> None:
    for name, setting in AUGMENTATIONS.items():
        assert parse_augment(name) == ((name, setting.default),)
        if setting.default is None:
            continue
        assert setting.low <= setting.default <= setting.high
        for strength in (setting.low, setting.high):
            assert parse_augment(f"{name}={strength}") == ((name, strength),)
        for strength in (setting.low - 0.01, setting.high + 0.01, "nan", "inf", "", "much", "1=2"):
            with pytest.raises(ValueError, match=f'"{name}" takes'):
                parse_augment(f"{name}={strength}")


def test_aliases_lead_to_names_and_hide_none() -> None:
    assert set(ALIASES.values()) <= set(AUGMENTATIONS)
    assert not set(ALIASES) & {*AUGMENTATIONS, *PRESETS}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (" , ", "empty"),
        ("flip,,rotate", "a name is missing"),
        ("=3", "a name is missing"),
        ("rotat", 'did you mean "rotate"'),
        ("Flip", 'did you mean "flip"'),
        ("heavy", "Allowed: none, light, hflip"),
        ("flip,hflip", 'twice: by "flip" and again by "hflip"'),
        ("light,brightness=0.4", 'twice: by "light" and again by "brightness=0.4"'),
        ("trivial,trivial", '"trivial" twice'),
        ("none,flip", "stands alone"),
        ("trivial=3", "takes no strength"),
        ("light=2", "preset and takes no strength"),
        ("rotate=-5", "0 to 180 (degrees), came '-5'"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_augment(text)


def test_the_setting_is_kept_as_it_was_written_without_spaces() -> None:
    assert make_config({"data": "x", "augment": " flip, rotate = 30 "}).augment == "flip,rotate=30"
    assert normalise_augment("light") == "light"
    assert make_config({"data": "x"}).augment == "none"
    with pytest.raises(WrongUsage, match=r'augment: .*did you mean "rotate"'):
        make_config({"data": "x", "augment": "rotat"})
