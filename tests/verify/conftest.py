"""One torch thread: the matrices here are small, and threads that wait for a core cost more."""

from collections.abc import Iterator

import pytest
import torch

from verify.em import figures as em_figures


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes a second a run; where figures are not what is tested, none are drawn."""
    monkeypatch.setattr(em_figures, "pictures", lambda *_: [])
