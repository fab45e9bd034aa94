"""A model's file comes back as the same model, or is refused without running anything."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from alpaca_strategy.errors import DamagedFileError, ModelRefusedError
from alpaca_strategy.model.calibration import Calibration
from alpaca_strategy.model.checkpoint import Card, Model, dump_model, load_model
from alpaca_strategy.model.network import Ranker
from alpaca_strategy.model.presets import NetworkShape

SHAPE = NetworkShape(symbols=3, hidden=4, heads=2, feedforward=8, minutes_per_token=60)
CARD = Card(
    fingerprint="f" * 16,
    feed="iex",
    symbols=("NVDA", "F", "OXY"),
    horizon=10,
    preset="demo",
    seed=7,
    dataset_hash="d" * 64,
    training=("2024-01-02", "2024-01-12"),
    validation=("2024-01-17", "2024-01-19"),
    holdout=("2024-01-23", "2024-02-21"),
    code_version="0.3.0",
)
Content = dict[str, Any]


def made() -> Model:
    torch.manual_seed(3)
    network = Ranker(SHAPE).eval()
    network.standardize.mean.copy_(torch.randn(3, 30))
    network.standardize.std.copy_(torch.rand(3, 30) + 0.5)
    return Model(network, Calibration(logit_scale=0.25, bps_per_unit=0.5), CARD)


MODEL = made()
WHOLE = dump_model(MODEL)


def content() -> Content:
    """Return what is in the file, to be altered."""
    found: Content = torch.load(io.BytesIO(WHOLE), weights_only=True)
    return found


def written(what: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(what, buffer)
    return buffer.getvalue()


def asked(model: Model) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(2, 240, 3, 30, generator=draw)
    with torch.inference_mode():
        logits: Tensor = model.network(x, torch.ones(2, 240, 3, dtype=torch.bool))
    return logits


def refusal(data: bytes, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        load_model(data, "models/1/last.ckpt")
    said = str(caught.value)
    assert "models/1/last.ckpt" in said
    assert "\n" not in said
    return said


def test_it_comes_back_with_the_same_logits_and_the_same_bytes() -> None:
    back = load_model(WHOLE, "x")
    logits = asked(MODEL)
    assert torch.isfinite(logits).all()
    assert torch.equal(asked(back), logits)
    assert back.card == CARD
    assert back.calibration == MODEL.calibration
    assert dump_model(back) == WHOLE


def test_it_comes_back_ready_to_be_asked_whatever_it_was_doing() -> None:
    model = made()
    model.network.train()
    back = load_model(dump_model(model), "x").network
    assert not back.training
    assert not any(weights.requires_grad for weights in back.parameters())


def test_the_file_is_plain_data_with_its_scaler(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(WHOLE)
    plain = torch.load(path, weights_only=True)
    assert torch.equal(plain["weights"]["standardize.mean"], MODEL.network.standardize.mean)
    assert plain["calibration"] == {"logit_scale": 0.25, "bps_per_unit": 0.5}
    assert plain["card"]["symbols"] == ["NVDA", "F", "OXY"]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_cut_anywhere_it_is_refused(length: int) -> None:
    assert "damaged" in refusal(WHOLE[:length], DamagedFileError)


def contents() -> list[range]:
    """Return where the archive's entries hold their bytes."""
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as archive:
        entries = archive.infolist()
    places = []
    for entry in entries:
        # A local header: 30 bytes, of which the last four tell how long name and padding are.
        header = WHOLE[entry.header_offset : entry.header_offset + 30]
        name, padding = (int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
        start = entry.header_offset + 30 + name + padding
        places.append(range(start, start + entry.file_size))
    return places


CONTENTS = contents()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_one_other_byte_in_what_it_holds_and_it_is_refused(data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(CONTENTS).flatmap(st.sampled_from))
    changed = bytearray(WHOLE)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert "damaged" in refusal(bytes(changed), DamagedFileError)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(1, 255)),
        min_size=1,
        max_size=20,
        unique_by=lambda flip: flip[0],
    )
)
def test_flipped_bytes_give_a_refusal_and_never_another_model(flips: list[tuple[int, int]]) -> None:
    changed = bytearray(WHOLE)
    for place, flip in flips:
        changed[place] ^= flip
    try:
        model = load_model(bytes(changed), "x")
    except DamagedFileError:
        return
    assert dump_model(model) == WHOLE  # only the archive's padding and dates were hit


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_that_are_no_archive_are_refused(data: bytes) -> None:
    refusal(data, DamagedFileError)


def archive_of(name: str, data: bytes, packing: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def test_an_archive_of_something_else_is_refused() -> None:
    refusal(archive_of("notes.txt", b"hello"), DamagedFileError)
    refusal(archive_of("archive/data.pkl", b"\x80\x02}q\x00."), DamagedFileError)
    refusal(b"", DamagedFileError)
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.zeros(3))
    refusal(buffer.getvalue(), DamagedFileError)


def test_an_archive_that_grows_when_unpacked_is_refused_before_it_is() -> None:
    small = archive_of("archive/data.pkl", bytes(50_000_000), zipfile.ZIP_DEFLATED)
    assert len(small) < 100_000
    refusal(small, DamagedFileError)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.target), "w")


@pytest.mark.filterwarnings("ignore:unclosed file")  # the bomb's own, where it is set off
@pytest.mark.parametrize("hidden", ["alone", "in the card", "among the weights"])
def test_a_pickle_bomb_does_not_go_off(tmp_path: Path, hidden: str) -> None:
    target = tmp_path / "pwned"
    load: Content = content()
    if hidden == "in the card":
        load["card"]["seed"] = Bomb(target)
    elif hidden == "among the weights":
        load["weights"]["head.layers.0.bias"] = Bomb(target)
    data = written(Bomb(target) if hidden == "alone" else load)
    torch.load(io.BytesIO(data), weights_only=False)
    assert target.exists()  # a live one
    target.unlink()
    refusal(data, DamagedFileError)
    assert not target.exists()


def test_a_plain_pickle_is_not_even_opened(tmp_path: Path) -> None:
    target = tmp_path / "pwned"
    refusal(pickle.dumps(Bomb(target)), DamagedFileError)
    assert not target.exists()


class Foreign(lightning.LightningModule):
    """Somebody else's model."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters({"hidden": 4})
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        loss: Tensor = self.layer(batch).sum()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # Lightning's own
def test_a_plain_lightning_checkpoint_is_no_model(tmp_path: Path) -> None:
    trainer = lightning.Trainer(
        max_steps=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    data = torch.utils.data.DataLoader(torch.ones(4, 2), batch_size=2)  # type: ignore[arg-type]
    trainer.fit(Foreign(), data)
    trainer.save_checkpoint(tmp_path / "epoch.ckpt")
    said = refusal((tmp_path / "epoch.ckpt").read_bytes(), ModelRefusedError)
    assert "no model of this program" in said
    assert "train one" in said


@pytest.mark.parametrize("other", [[1, 2], "text", {}, {"format": "alpaca-strategy model 2"}])
def test_another_format_is_no_model(other: object) -> None:
    assert "'alpaca-strategy model 1'" in refusal(written(other), ModelRefusedError)


CARD_PARTS = [f"card.{name}" for name in ("fingerprint", "symbols", "seed", "holdout")]


@pytest.mark.parametrize("missing", ["shape", "weights", "calibration", "card", *CARD_PARTS])
def test_a_part_that_is_missing_is_a_refusal(missing: str) -> None:
    altered = content()
    part, _, name = missing.partition(".")
    del (altered[part] if name else altered)[name or part]
    assert "lacks parts" in refusal(written(altered), ModelRefusedError)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("shape", "hidden", 8),
        ("shape", "hidden", 5),  # not to be divided among its heads
        ("shape", "heads", 0),
        ("shape", "symbols", 4),
        ("shape", "minutes_per_token", 0),
        ("shape", "minutes_per_token", 7),
        ("shape", "temporal_layers", 3),
        ("shape", "window", "240"),
        ("shape", "layers", 2),
        ("calibration", "logit_scale", "wide"),
        ("calibration", "offset", 0.0),
        ("card", "symbols", "ABC"),
        ("card", "symbols", [1, 2, 3]),
        ("card", "seed", "7"),
        ("card", "feed", None),
        ("weights", "head.layers.0.bias", torch.zeros(5)),
        ("weights", "head.layers.0.bias", "zero"),
        ("weights", "head.layers.9.bias", torch.zeros(4)),
    ],
)
def test_parts_of_another_kind_or_size_are_a_refusal(part: str, name: str, value: object) -> None:
    altered = content()
    altered[part][name] = value
    assert "lacks parts of a model or has others" in refusal(written(altered), ModelRefusedError)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@settings(max_examples=10, deadline=None)
@given(name=st.sampled_from(sorted(MODEL.network.state_dict())), data=st.data())
def test_a_weight_that_is_no_number_is_a_refusal(
    value: float, name: str, data: st.DataObject
) -> None:
    altered = content()
    weights = altered["weights"][name].view(-1)
    weights[data.draw(st.integers(0, len(weights) - 1))] = value
    assert f"no numbers ({name})" in refusal(written(altered), ModelRefusedError)


def test_a_number_too_large_for_the_network_is_a_refusal() -> None:
    altered = content()
    altered["weights"]["head.layers.0.bias"] = torch.full((4,), 1e300, dtype=torch.float64)
    assert "no numbers (head.layers.0.bias)" in refusal(written(altered), ModelRefusedError)


@pytest.mark.parametrize(
    ("name", "value"),
    [("logit_scale", 0.0), ("logit_scale", -1.0), ("logit_scale", np.nan), ("logit_scale", np.inf),
     ("bps_per_unit", np.nan)],
)  # fmt: skip
def test_a_calibration_that_gives_no_scores_is_a_refusal(name: str, value: float) -> None:
    altered = content()
    altered["calibration"][name] = value
    assert "calibration that gives no scores" in refusal(written(altered), ModelRefusedError)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=5), max_size=6))
def test_another_number_of_symbols_than_weights_for_them_is_a_refusal(symbols: list[str]) -> None:
    assume(len(symbols) != 3)
    altered = content()
    altered["card"]["symbols"] = symbols
    said = refusal(written(altered), ModelRefusedError)
    assert f"{len(symbols)} symbols and weights for 3" in said
