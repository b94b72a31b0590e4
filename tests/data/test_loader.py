"""Order, completeness, augmentation and exact resume of the training batches."""

from __future__ import annotations

import itertools

import pytest
import torch

from bregbench.data import Augment, BatchLoader, Split, crop_flip, evaluation_batches
from bregbench.foundations.errors import BenchError

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def numbered(count: int, *, side: int = 6) -> Split:
    """Random images whose labels are their positions."""
    generator = torch.Generator().manual_seed(1)
    shape = (count, 3, side, side)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Split(images=images, labels=torch.arange(count))


def loader(split: Split, batch_size: int, *, seed: int = 0, drop_last: bool = False) -> BatchLoader:
    return BatchLoader(
        split,
        batch_size,
        generator=torch.Generator().manual_seed(seed),
        augment_generator=torch.Generator().manual_seed(seed + 1),
        augment=Augment.crop_flip,
        drop_last=drop_last,
    )


def plain(split: Split, batch_size: int) -> BatchLoader:
    return BatchLoader(split, batch_size, generator=torch.Generator().manual_seed(0))


def same(left: Batches, right: Batches) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, b)
        for one, other in zip(left, right, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(("count", "batch_size"), [(10, 3), (9, 3), (2, 5), (7, 1)])
def test_an_epoch_sees_every_sample_once_with_its_own_label(count: int, batch_size: int) -> None:
    split = numbered(count)
    batches = list(plain(split, batch_size))
    labels = torch.cat([labels for _, labels in batches])
    images = torch.cat([images for images, _ in batches])
    assert sorted(labels.tolist()) == list(range(count))
    assert torch.equal(images, split.images[labels].float() / 255)
    assert [len(labels) for _, labels in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(plain(split, batch_size)) == len(batches)


def test_epochs_differ_and_seeds_repeat_them() -> None:
    split = numbered(20)
    first, again = loader(split, 6), loader(split, 6)
    one, two = list(first), list(first)
    assert not same(one, two)
    assert same([*one, *two], [*again, *again])
    assert not same(one, list(loader(split, 6, seed=5)))


def test_drop_last_leaves_out_the_small_batch() -> None:
    batches = loader(numbered(10), 4, drop_last=True)
    assert len(batches) == len(list(batches)) == 2


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("done", range(5))
def test_a_restored_loader_continues_the_same_epoch(done: int, drop_last: bool) -> None:
    split = numbered(14)
    expected = loader(split, 4, drop_last=drop_last)
    before, whole, after = list(expected), list(expected), list(expected)
    done = min(done, len(whole))

    interrupted = loader(split, 4, drop_last=drop_last)
    assert same(list(interrupted), before)
    assert same(list(itertools.islice(interrupted, done)), whole[:done])
    state = interrupted.state_dict()
    # What the interrupted process would still have done must not leak into the state.
    list(interrupted)

    restored = loader(split, 4, seed=99, drop_last=drop_last)
    restored.load_state_dict(state)
    assert same(list(restored), whole[done:])
    assert same(list(restored), after)


def test_a_state_saved_while_working_on_a_batch_counts_it_as_seen() -> None:
    source, target = loader(numbered(12), 4), loader(numbered(12), 4)
    batches: Batches = []
    state = {}
    for index, batch in enumerate(source):
        batches.append(batch)
        if index == 0:
            state = source.state_dict()
    target.load_state_dict(state)
    assert same(list(target), batches[1:])


def test_a_state_saved_after_the_last_batch_ends_the_epoch_first() -> None:
    source, target = loader(numbered(8), 4), loader(numbered(8), 4)
    state = {}
    for _ in source:
        state = source.state_dict()
    target.load_state_dict(state)
    assert list(target) == []
    assert same(list(target), list(source))


def test_an_epoch_left_early_is_continued_unless_restarted() -> None:
    split = numbered(12)
    whole = list(loader(split, 4))
    left = loader(split, 4)
    next(iter(left))
    assert same(list(left), whole[1:])
    left = loader(split, 4)
    next(iter(left))
    left.restart()
    assert len(list(left)) == 3


def test_states_survive_a_checkpoint_file(tmp_path: object) -> None:
    source = loader(numbered(12), 4)
    next(iter(source))
    path = f"{tmp_path}/loader.pt"
    torch.save(source.state_dict(), path)
    target = loader(numbered(12), 4, seed=3)
    target.load_state_dict(torch.load(path, weights_only=True))
    assert same(list(target), list(source))


@pytest.mark.parametrize(("count", "batch_size"), [(12, 3), (13, 4)])
def test_a_state_of_another_run_is_refused(count: int, batch_size: int) -> None:
    state = loader(numbered(12), 4).state_dict()
    with pytest.raises(BenchError, match="cannot resume"):
        loader(numbered(count), batch_size).load_state_dict(state)


def test_batch_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(BenchError, match="batch_size=0"):
        plain(numbered(3), 0)
    with pytest.raises(BenchError, match="at most 3"):
        loader(numbered(3), 4, drop_last=True)


def test_augmenting_needs_a_generator() -> None:
    generator = torch.Generator()
    with pytest.raises(ValueError, match="augment_generator"):
        BatchLoader(numbered(3), 1, generator=generator, augment=Augment.crop_flip)


def test_evaluation_batches_keep_order_and_images() -> None:
    split = numbered(7)
    batches = list(evaluation_batches(split, 3))
    assert [len(labels) for _, labels in batches] == [3, 3, 1]
    assert torch.equal(torch.cat([labels for _, labels in batches]), split.labels)
    assert torch.equal(torch.cat([images for images, _ in batches]), split.images.float() / 255)
    assert split.images.dtype == torch.uint8
    assert list(evaluation_batches(numbered(0), 3)) == []


@pytest.mark.parametrize("shape", [(64, 3, 32, 32), (5, 1, 8, 11)])
def test_crop_flip_equals_cropping_image_by_image(shape: tuple[int, int, int, int]) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    augmented = crop_flip(images, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    count, channels, height, width = shape
    offsets = torch.randint(9, (2, count), generator=generator)
    flips = torch.randint(2, (count,), generator=generator)
    for index in range(count):
        padded = torch.zeros(channels, height + 8, width + 8, dtype=torch.uint8)
        padded[:, 4 : 4 + height, 4 : 4 + width] = images[index]
        top, left = offsets[:, index].tolist()
        expected = padded[:, top : top + height, left : left + width]
        expected = expected.flip(2) if flips[index] else expected
        assert torch.equal(augmented[index], expected)


def test_crop_flip_reaches_every_offset_and_both_sides() -> None:
    image = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    image[0, 0, 4, 4] = 1
    image[0, 0, 4, 3] = 2
    generator = torch.Generator().manual_seed(0)
    augmented = crop_flip(image.expand(4000, -1, -1, -1), generator=generator)
    positions = (augmented == 1).flatten(1).int().argmax(dim=1)
    assert positions.unique().numel() == 81
    # The pixel 2 lies to the left, or to the right of the pixel 1 where the image is mirrored.
    mirrored = (augmented[:, :, :, 1:] == 2) & (augmented[:, :, :, :-1] == 1)
    assert 0.45 < mirrored.flatten(1).any(dim=1).float().mean() < 0.55


def test_augmentation_leaves_the_data_alone() -> None:
    split = numbered(6)
    before = split.images.clone()
    list(loader(split, 3))
    assert torch.equal(split.images, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_cuda_never_wait_for_the_device() -> None:
    split = numbered(64)
    split = Split(images=split.images.cuda(), labels=split.labels.cuda())
    batches = BatchLoader(
        split,
        8,
        generator=torch.Generator().manual_seed(0),
        augment_generator=torch.Generator("cuda").manual_seed(0),
        augment=Augment.crop_flip,
    )
    iterator = iter(batches)
    seen = [next(iterator)[1]]  # The permutation is moved to the device once, at the first batch.
    torch.cuda.set_sync_debug_mode("error")
    try:
        seen += [labels for _, labels in iterator]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sorted(torch.cat(seen).tolist()) == list(range(64))
