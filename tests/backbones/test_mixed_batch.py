from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from samner.backbones import BASE, LazyDeltas
from samner.backbones.mixed_batch import MixedModels, blocks
from samner.errors import ModelError
from samner.lora import LoraAdapter, LoraFactors

WIDTH, HIDDEN = 6, 10


class Net(nn.Module):
    """Two linear layers, one without bias, and a third that nobody adapts."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, HIDDEN)
        self.second = nn.Linear(HIDDEN, WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).tanh()))


def net(dtype: torch.dtype = torch.float32) -> Net:
    torch.manual_seed(0)
    return Net().to(dtype).eval()


def adapter(seed: int, rank: int, scale: float, *modules: str) -> LoraAdapter:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first": (HIDDEN, WIDTH), "second": (WIDTH, HIDDEN)}
    return LoraAdapter(
        str(seed),
        {
            name: LoraFactors(
                torch.randn(rank, shapes[name][1], generator=generator),
                torch.randn(shapes[name][0], rank, generator=generator),
                scale,
            )
            for name in modules
        },
    )


EXPERTS = {"a": adapter(1, 2, 0.5, "first", "second"), "b": adapter(2, 3, 1.5, "second")}
TASK_MODELS = {
    "x": {name: EXPERTS["a"].delta(name) * 0.7 for name in ("first", "second")},
    "y": {"first": adapter(3, 4, 0.3, "first").delta("first")},
}


def mixed_of(model: Net) -> MixedModels:
    mixed = MixedModels({"first": model.first, "second": model.second})
    for name, factors in EXPERTS.items():
        mixed.add_expert(name, factors, [f"type of {name}"])
    for name, deltas in TASK_MODELS.items():
        mixed.add_task_model(name, deltas)
    return mixed


def alone(name: str) -> Net:
    """A net with the weights that a model stands for."""
    model = net()
    if name != BASE:
        deltas = TASK_MODELS.get(name) or {m: EXPERTS[name].delta(m) for m in EXPERTS[name].modules}
        for module, delta in deltas.items():
            model.get_submodule(module).weight.data += delta
    return model


def batch(rows: int) -> Tensor:
    return torch.randn(rows, 5, WIDTH, generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize("order", ["b.axy", "xa.yb", "a", "y", "..x", "aax", "xx..yyab", "x.x", "xy"])
@torch.no_grad()
def test_each_row_is_read_by_its_model(order: str) -> None:
    model = net()
    mixed = mixed_of(model)
    names = [BASE if letter == "." else letter for letter in order]
    x = batch(len(names))
    with mixed.rows(names):
        answers = model(x)
    for row, name in enumerate(names):
        assert torch.allclose(answers[row], alone(name)(x[row : row + 1])[0], atol=1e-5), name


@torch.no_grad()
def test_rows_may_be_flattened() -> None:
    model = net()
    mixed = mixed_of(model)
    x = batch(3)
    with mixed.rows([BASE, "x", "b"]):
        assert torch.allclose(model(x.flatten(0, 1)).view(3, 5, 3), model(x), atol=1e-6)


@torch.no_grad()
def test_a_base_in_half_precision_stays_so() -> None:
    model = net(torch.bfloat16)
    mixed = mixed_of(model)
    x = batch(5)
    with mixed.rows(["a", BASE, "x", "y", "b"]):
        answers = model(x.bfloat16())
    assert answers.dtype == torch.bfloat16
    for row, name in enumerate(["a", BASE, "x", "y", "b"]):
        assert torch.allclose(answers[row].float(), alone(name)(x[row]), atol=0.1), name


@torch.no_grad()
def test_the_base_is_itself_outside_and_a_pass_within_a_pass_has_its_own_rows() -> None:
    model = net()
    mixed = mixed_of(model)
    x, plain = batch(1), net()(batch(1))
    with pytest.raises(RuntimeError, match="amid"), mixed.rows(["a"]):
        first = model(x)
        with mixed.rows(["y"]):
            assert not torch.allclose(model(x), first)
        assert torch.equal(model(x), first)
        assert not torch.allclose(first, plain)
        raise RuntimeError("amid")
    assert torch.equal(model(x), plain)
    assert all(torch.equal(value, net().state_dict()[key]) for key, value in model.state_dict().items())


@torch.no_grad()
def test_threads_have_their_own_rows() -> None:
    model = net()
    mixed = mixed_of(model)
    names = [BASE, "a", "b", "x", "y"]
    x = batch(4)
    expected = {name: alone(name)(x) for name in names}

    def ask(number: int) -> bool:
        name = names[number % len(names)]
        with torch.no_grad():
            mixed.add_expert(f"passing {number}", EXPERTS["a"])
            with mixed.rows([name] * 4):
                right = torch.allclose(model(x), expected[name], atol=1e-5)
            mixed.remove(f"passing {number}")
        return right and f"passing {number}" not in mixed.names

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))
    assert set(mixed.names) == {"a", "b", "x", "y"}


@torch.no_grad()
def test_what_is_removed_amid_a_pass_ends_it() -> None:
    model = net()
    mixed = mixed_of(model)
    with mixed.rows(["x"]):
        mixed.remove("x")
        assert torch.allclose(model(batch(1)), alone("x")(batch(1)), atol=1e-5)
    with pytest.raises(ModelError, match="holds no model 'x'"), mixed.rows([BASE, "x"]):
        pass


@torch.no_grad()
def test_a_copy_answers_the_same_and_without_weights_that_can_be_made_again() -> None:
    model = net()
    mixed = mixed_of(model)
    before = len(pickle.dumps((model, mixed)))
    with mixed.rows(["x", "a"]):
        expected = model(batch(2))
    pickled = pickle.dumps((model, mixed))
    assert len(pickled) == before
    for copied, its in (pickle.loads(pickled), copy.deepcopy((model, mixed))):
        with its.rows(["x", "a"]):
            assert torch.equal(copied(batch(2)), expected)
            assert not torch.allclose(model(batch(2)), expected)  # its rows are not those of the original


class Asked(LazyDeltas):
    """The task vectors of a model, and who asked for which of them."""

    def __init__(self, deltas: dict[str, Tensor]) -> None:
        self.shapes = {module: (len(delta), delta.shape[1]) for module, delta in deltas.items()}
        self.deltas = deltas
        self.asked: list[str] = []

    def __getitem__(self, module: str) -> Tensor:
        self.asked.append(module)
        return self.deltas[module]


def test_lazy_task_vectors_are_asked_for_once_when_the_weights_are_made() -> None:
    model = net()
    mixed = mixed_of(model)
    lazy = Asked(TASK_MODELS["x"])
    mixed.add_task_model("lazy", lazy)
    assert not lazy.asked and mixed.is_task_model("lazy") and mixed.deltas("lazy") is lazy
    mixed.prepare("lazy")
    assert lazy.asked == ["first", "second"]
    answers = []
    for name in ("lazy", "x"):
        with torch.inference_mode(), mixed.rows([name]):
            answers.append(model(batch(1)))
    assert torch.equal(*answers)
    assert lazy.asked == ["first", "second"]
    with pytest.raises(ModelError, match=r"'first' is \(2, 3\), this base has \(10, 6\)"):
        mixed.add_task_model("z", Asked({"first": torch.zeros(2, 3)}))
    with pytest.raises(ModelError, match="no model 'z'"):
        mixed.prepare("z")


def test_a_model_whose_weights_are_there_waits_for_none_whose_are_being_made() -> None:
    model = net()
    mixed = mixed_of(model)
    begun, going_on = threading.Event(), threading.Event()

    class Slow(Asked):
        def __getitem__(self, module: str) -> Tensor:
            begun.set()
            assert going_on.wait(30)
            return super().__getitem__(module)

    mixed.add_task_model("slow", slow := Slow(TASK_MODELS["x"]))
    with ThreadPoolExecutor(2) as pool:
        making = [pool.submit(mixed.prepare, "slow") for _ in range(2)]
        assert begun.wait(30)
        with torch.inference_mode(), mixed.rows(["x", "y"]):
            model(batch(2))
        going_on.set()
        assert [made.result() for made in making] == [None, None]
    assert slow.asked == ["first", "second"]  # by one of the two


def test_what_does_not_fit_is_refused() -> None:
    mixed = mixed_of(net())
    for name in ("a", "x", BASE):
        with pytest.raises(ModelError, match=f"the name '{name}' is taken"):
            mixed.add_task_model(name, {})
        with pytest.raises(ModelError, match=f"the name '{name}' is taken"):
            mixed.add_expert(name, EXPERTS["a"])
    with pytest.raises(ModelError, match=r"'head' is \(2, 3\), this base has no such module"):
        mixed.add_task_model("z", {"head": torch.zeros(2, 3)})
    with pytest.raises(ModelError, match=r"'first' is \(2, 3\), this base has \(10, 6\)"):
        mixed.add_task_model("z", {"first": torch.zeros(2, 3)})
    with pytest.raises(ModelError, match="'a' is not a task model"):
        mixed.deltas("a")
    mixed.remove("a")
    mixed.remove("x")
    mixed.remove("unknown")
    assert set(mixed.names) == {"b", "y"}


def test_it_knows_what_models_were_taught() -> None:
    mixed = mixed_of(net())
    assert (mixed.types("a"), mixed.types("y"), mixed.types(BASE)) == (("type of a",), (), ())


def test_what_all_rows_share_is_read_by_one_model_after_the_other() -> None:
    model, shared = net(), torch.randn(1, 7, WIDTH)
    mixed, rows = mixed_of(model), [BASE, BASE, "x", "a", "a", "y"]
    with torch.inference_mode():
        with mixed.rows(rows):
            answers = {rows[start]: (stop - start, model(shared)) for start, stop in blocks()}
            assert model(torch.randn(len(rows), 7, WIDTH)).shape == (len(rows), 7, 3)
        assert {name: count for name, (count, _) in answers.items()} == {BASE: 2, "x": 1, "a": 2, "y": 1}
        for name, (_, answer) in answers.items():
            torch.testing.assert_close(answer, alone(name)(shared), atol=1e-5, rtol=1e-5)
        assert not list(blocks())
