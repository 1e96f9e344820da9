import pytest

from medseg.core.wording import counted, first_few


@pytest.mark.parametrize(
    ("number", "what", "said"),
    [
        (1, "case", "1 case"),
        (0, "case", "0 cases"),
        (2, "more shape", "2 more shapes"),
        (1, "entry", "1 entry"),
        (2, "entry", "2 entries"),
        (3, "key", "3 keys"),
    ],
)
def test_one_is_no_plural(number: int, what: str, said: str) -> None:
    assert counted(number, what) == said


@pytest.mark.parametrize(
    ("names", "said"), [([], ""), (["a"], "a"), (list("abc"), "a, b, c"), (list("abcd"), "a, b, c, ...")]
)
def test_a_long_list_is_cut_and_says_so(names: list[str], said: str) -> None:
    assert first_few(names, most=3) == said
