"""The public names, the tree of errors and the labels."""

import inspect
import re

import chatward
from chatward import errors
from chatward.schema import LABELS, PROBABILITY_COLUMNS


def test_all_is_sorted_and_really_there() -> None:
    assert chatward.__all__ == sorted(chatward.__all__)
    for name in chatward.__all__:
        assert getattr(chatward, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(chatward, "Detektor")


def test_labels_are_spelled_as_promised() -> None:
    assert LABELS == ("non-toxic", "mild toxicity", "toxic")
    assert PROBABILITY_COLUMNS == ("p_non_toxic", "p_mild_toxicity", "p_toxic")


def classes() -> dict[str, type[errors.ChatwardError]]:
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: c for name, c in found if issubclass(c, errors.ChatwardError)}


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn = re.findall(r"([A-Z]\w+Error)[^.\n]*\.+ +(\d+) +(\d+)", errors.__doc__ or "")
    assert {(n, int(e), int(h)) for n, e, h in drawn} == {
        (name, c.exit_code, c.http_status) for name, c in classes().items()
    }


def test_every_error_has_an_exit_code_of_its_own() -> None:
    codes = [c.exit_code for c in classes().values()]
    assert len(set(codes)) == len(codes)
    assert not {0, 130} & set(codes)


def test_a_missing_extra_names_the_command_that_helps() -> None:
    message = str(errors.MissingExtraError("app", "`chatward app`"))
    assert message == '`chatward app` needs the "app" extra: pip install "chatward[app]"'
