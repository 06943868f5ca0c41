"""Many texts: cut into runs, or streamed; in order, with flat memory."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healdag import Classification, create_classifier
from healdag.errors import InputError, UsageError
from healdag.graph.many import CHUNK
from healdag.predictors.fake import FakePredictor

LABELS = ("joy", "anger")


def make(**options: Any) -> Any:
    return create_classifier(primary=FakePredictor(LABELS, default={"joy": 0.9}), enable_backup=False, **options)


def numbered(count: int) -> list[str]:
    return [f"text {i}" for i in range(count)]


async def listed(results: AsyncIterator[Any]) -> list[Any]:
    return [result async for result in results]


async def arriving(texts: list[Any]) -> AsyncIterator[Any]:
    for text in texts:
        await asyncio.sleep(0)
        yield text


class TestMany:
    def test_large_batches_are_cut(self) -> None:
        model = FakePredictor(LABELS, default={"joy": 0.9})
        classifier = create_classifier(primary=model)
        texts = numbered(2 * CHUNK + 5)
        assert [result.text for result in classifier.classify_many(texts)] == texts
        assert [result.text for result in asyncio.run(classifier.aclassify_many(texts))] == texts
        assert [len(call) for call in model.calls] == [CHUNK, CHUNK, 5] * 2

    def test_ids_differ_between_the_runs(self) -> None:
        assert len({result.decision_id for result in make().classify_many(numbered(CHUNK + 1))}) == CHUNK + 1

    def test_errors_far_behind(self) -> None:
        texts = [*numbered(CHUNK + 3), "", "last"]
        with pytest.raises(InputError, match=f"index {CHUNK + 3}"):
            make().classify_many(texts)
        found = make().classify_many(texts, errors="return")
        assert [isinstance(one, InputError) for one in found] == [*[False] * (CHUNK + 3), True, False]
        assert found[-1].text == "last"

    def test_nothing_is_classified_where_an_error_is_raised(self) -> None:
        model = FakePredictor(LABELS)
        with pytest.raises(InputError):
            create_classifier(primary=model).classify_many([*numbered(CHUNK + 3), ""])
        assert model.calls == []

    def test_rows_of_several_runs_wait_for_a_person(self) -> None:
        classifier = make(human_review=True, threshold=0.95)
        pending = classifier.classify_many(numbered(CHUNK + 1))
        assert {result.source for result in pending} == {"pending"}
        assert classifier.answer(pending[-1].decision_id, "anger").text == f"text {CHUNK}"


class TestIter:
    classifier = make()

    @given(st.lists(st.sampled_from(["a", "b", "", None, "😀"]), max_size=12), st.integers(1, 5))
    def test_the_same_as_many(self, texts: list[Any], chunk: int) -> None:
        def shown(found: Any) -> list[Any]:
            return [str(one) if isinstance(one, InputError) else (one.text, one.final_label) for one in found]

        expected = shown(self.classifier.classify_many(texts, errors="return"))
        assert shown(self.classifier.classify_iter(iter(texts), errors="return", chunk=chunk)) == expected
        for source in (texts, arriving(texts)):
            found = self.classifier.aclassify_iter(source, errors="return", chunk=chunk)
            assert shown(asyncio.run(listed(found))) == expected

    def test_results_before_an_error_come_first(self) -> None:
        found = self.classifier.classify_iter(["a", "b", " ", "c"])
        assert [next(found).text, next(found).text] == ["a", "b"]
        with pytest.raises(InputError, match="text at index 2: the text is empty") as caught:
            next(found)
        assert caught.value.index == 2
        assert list(found) == []

    def test_the_index_counts_from_the_first_chunk(self) -> None:
        found = list(self.classifier.classify_iter(["a", "b", "c", ""], errors="return", chunk=2))
        assert [getattr(one, "index", None) for one in found] == [None, None, None, 3]

    def test_texts_are_read_as_results_are_taken(self) -> None:
        read: list[str] = []

        def endless() -> Iterator[str]:
            while True:
                read.append(f"text {len(read)}")
                yield read[-1]

        found = self.classifier.classify_iter(endless(), chunk=4)
        assert read == []
        assert [next(found).text for _ in range(5)] == numbered(5)
        assert len(read) == 8

    def test_what_was_taken_is_not_kept(self) -> None:
        alive: list[weakref.ref[Classification]] = []
        most = 0
        for result in self.classifier.classify_iter((f"text {i}" for i in range(200)), chunk=10):
            alive.append(weakref.ref(result))
            most = max(most, sum(one() is not None for one in alive))
        assert most <= 2 * 10

    def test_a_stream_follows_a_reload(self) -> None:
        classifier = make()
        found = classifier.classify_iter(numbered(4), chunk=2)
        before = classifier.graph
        next(found)
        classifier.reload()
        assert classifier.graph is not before
        assert len(list(found)) == 3

    def test_nothing(self) -> None:
        assert list(self.classifier.classify_iter([])) == []
        assert asyncio.run(listed(self.classifier.aclassify_iter(arriving([])))) == []

    @pytest.mark.parametrize("name", ["classify_iter", "aclassify_iter"])
    def test_what_is_refused_is_refused_at_once(self, name: str) -> None:
        method = getattr(self.classifier, name)
        with pytest.raises(InputError, match="use classify"):
            method("one text")
        with pytest.raises(UsageError, match="'raise' or 'return', got 'skip'"):
            method(["a"], errors="skip")
        with pytest.raises(UsageError, match="one text or more, got 0"):
            method(["a"], chunk=0)

    def test_an_error_of_the_source_is_its_callers(self) -> None:
        def broken() -> Iterator[str]:
            yield "a"
            raise OSError("disk")

        found = self.classifier.classify_iter(broken(), chunk=1)
        assert next(found).text == "a"
        with pytest.raises(OSError, match="disk"):
            next(found)

    def test_the_shipped_model(self, classifier: Any) -> None:
        texts = ["so happy", "this is awful", "❤️", "oh great, rain again"] * 3
        many = classifier.classify_many(texts)
        for one, other in zip(classifier.classify_iter(texts, chunk=5), many, strict=True):
            assert (one.text, one.final_label, one.source) == (other.text, other.final_label, other.source)
