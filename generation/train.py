"""The generator's training, its stages in order: `aftercare train generator --recipe R [--base PATH]`, in the environment train.

1 data, 2 task format, 3 settings, 4 training, 5 evaluation before and after, export for vLLM, model card and registry. What comes out is a candidate;
`--promote VERSION` lets it through the gate or says why not, `--roll-back VERSION` goes back to one that was served.
On several GPUs: `accelerate launch -m generation.train …` or `torchrun -m generation.train …`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from care.knowledge import knowledge
from care.understanding import Frozen
from generation.card import write_card
from generation.corpus import (
    CORPORA,
    Corpus,
    CorpusInvalid,
    Labelled,
    cleaned,
    contradictions,
    describe,
    graph_messages,
    read_lines,
    read_voices,
    rule_messages,
)
from generation.examples import Example, example, varied
from generation.figures import Figures
from generation.prompt import PROMPT_VERSION, answer, completion_prompt
from generation.recipe import RECIPES, BaseInvalid, Recipe, RecipeInvalid, read_recipe
from generation.registry import (
    MODELS,
    REGISTRY,
    Entry,
    GateClosed,
    RegistryInvalid,
    State,
    folder_of,
    promote,
    read_registry,
    register,
    relative,
    roll_back,
)
from generation.served import ROOT, weights_hash

_progress = Console(stderr=True)
HOME = MODELS.parent
_MAKERS = (
    *(f"generation/{name}.py" for name in ("corpus", "deidentify", "examples", "prompt", "recipe")),
    *(f"care/{name}.py" for name in ("acuity", "lexicon", "numbers", "retrieval", "triage/model", "triage/request", "understanding")),
    *(f"care/{name}" for name in ("graph", "knowledge", "redflags")),
)


def gather(recipe: Recipe) -> Corpus:
    """Stage 1: the messages, a file's de-identified, normalised, label-checked and split. Raises `CorpusInvalid`."""
    part, rng = recipe.data, random.Random(recipe.seed)  # noqa: S311 - variety, not secrecy
    corpora: list[tuple[Corpus, Callable[[str], str] | None]] = [(read_voices(), None)] if part.voices else []
    if part.jsonl:
        from generation.deidentify import deidentifier

        corpora.append((read_lines(part.jsonl, part.validation, part.test, recipe.seed), deidentifier().clean))
    splits: list[list[Labelled]] = []
    for split in ("train", "validation", "test"):
        messages = [message for corpus, clean in corpora for message in cleaned(getattr(corpus, split), clean)]
        if split == "train" and (wrong := contradictions(messages)):
            _progress.print(f"{len(wrong)} training messages labelled below their red flag are left out")
            messages = [message for message in messages if message not in wrong]
        splits.append(messages)
    held_out = {message.text for split in splits[1:] for message in split}
    made = [*(rule_messages() if part.rules else []), *graph_messages(part.graph, rng)]
    corpus = Corpus([*splits[0], *(message for message in made if message.text not in held_out)], splits[1], splits[2])
    corpus.check()
    return corpus


class Prepared(Frozen):
    """Stages 1 and 2 of a run: what is learned, what training is checked by, what it is measured on, and the splits as they are told."""

    key: str
    data: dict[str, dict[str, int]]
    taught: list[Example]
    checked: list[Example]
    asked: list[Example]


def prepare(recipe: Recipe, work: Path) -> Prepared:
    """The examples of a run. They are kept in `work` and taken from there while all that they are made of stays as it is."""
    kept, key = work / "examples.json", _key(recipe)
    if kept.exists() and (found := Prepared.model_validate_json(kept.read_bytes())).key == key:
        return found
    corpus = gather(recipe)
    rng = random.Random(recipe.seed)  # noqa: S311
    drawn = itertools.islice(varied(corpus.train, recipe.data, rng), recipe.data.examples)
    taught = [example(message, rng) for message in track(drawn, "examples", total=recipe.data.examples, console=_progress)]
    checked, asked = ([example(message) for message in messages] for messages in (corpus.validation, corpus.test))
    made = Prepared(key=key, data=describe(corpus), taught=taught, checked=checked, asked=asked)
    kept.write_text(made.model_dump_json(), encoding="utf-8")
    return made


def _key(recipe: Recipe) -> str:
    """A hash of all that examples are made of, and of what makes them."""
    digest = sha256(f"{recipe.seed} {recipe.data.model_dump_json()} {knowledge().version}".encode())
    for file in (*sorted(CORPORA.rglob("*.yaml")), *([recipe.data.jsonl] if recipe.data.jsonl else []), *makers()):
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()


def makers() -> list[Path]:
    """The source files whose change makes other examples."""
    return sorted(file for name in _MAKERS for file in ((ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / name]))


def run(recipe: Recipe, recipe_path: Path, out: Path | None, registry: Path, *, resume: bool) -> Entry | None:
    """The whole run; the candidate's entry in the registry, None in a process beside the main one."""
    import torch
    from accelerate import PartialState

    from generation.measure import measure
    from generation.task import Format
    from generation.tuning import load, train

    work = HOME / "training" / recipe.name
    work.mkdir(parents=True, exist_ok=True)
    state = PartialState(cpu=recipe.training.device == "cpu" or not torch.cuda.is_available())
    if not resume and state.is_main_process:
        for old in (*work.glob("checkpoint-*"), work / "curve.csv", work / "tensorboard"):
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    with state.main_process_first():
        examples = prepare(recipe, work)
    taught, checked, asked, told = examples.taught, spread(examples.checked, 200), spread(examples.asked, recipe.evaluation.messages), examples.data
    _progress.print(json.dumps(told))
    model, tokenizer = load(recipe, [completion_prompt(each.request) + answer(each.draft) for each in taught])
    form = Format(tokenizer, recipe.format)
    before = measure(model, form, asked) if recipe.evaluation.before and recipe.base and state.is_main_process else None
    encoded = [each for each in map(form.encoded, taught) if each is not None]
    if not encoded:
        raise RecipeInvalid(f"{recipe_path}: format.max_tokens: none of {len(taught)} examples is as short as {recipe.format.max_tokens} tokens; raise it")
    _progress.print(f"{len(encoded)} examples ({len(taught) - len(encoded)} too long), {sum(weight.numel() for weight in model.parameters()):,} parameters")
    trained, steps = train(recipe, model, tokenizer, encoded, [each for each in map(form.encoded, checked) if each is not None], work, resume=resume)
    if not state.is_main_process:
        return None
    trained = trained.to(getattr(torch, recipe.export.dtype))
    fresh = MODELS / f"{recipe.name}.new"
    export(trained, tokenizer, recipe, fresh, work)
    weights = weights_hash(fresh)
    folder = out or MODELS / f"{recipe.name}-{weights}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(fresh, folder)
    after = measure(trained.to(torch.float32) if trained.device.type == "cpu" else trained, form, asked)
    compare(before, after)
    parameters = sum(weight.numel() for weight in trained.parameters())
    write_card(folder / "model-card.md", recipe=recipe, recipe_path=recipe_path, parameters=parameters, steps=steps, data=told, before=before, after=after)
    entry = Entry(
        version=f"{recipe.name}-{weights}",
        name=recipe.name,
        recipe=relative(recipe_path),
        base=recipe.base,
        folder=relative(folder),
        install=recipe.export.install,
        weights=weights,
        prompt=PROMPT_VERSION,
        trained=datetime.now(UTC).date().isoformat(),
        parameters=parameters,
        steps=steps,
        state=State.CANDIDATE,
        measured_on=_hash_of(asked),
        figures=after,
        before=before,
    )
    register(entry, registry)
    return entry


def measure_again(version: str, registry: Path) -> Entry:
    """A version's figures on the test messages as they are now, in its entry and card. Raises `RegistryInvalid`."""
    import torch

    from generation.measure import measure
    from generation.task import Format
    from generation.tuning import load_trained

    entry = read_registry(registry).entry(version)
    recipe = read_recipe(ROOT / entry.recipe)
    corpus = gather(recipe)
    asked = spread([example(message) for message in corpus.test], recipe.evaluation.messages)
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    folder = folder_of(entry)
    model, tokenizer = load_trained(folder, entry.base)
    figures = measure(model, Format(tokenizer, recipe.format), asked)
    compare(entry.figures, figures)
    entry = entry.model_copy(update={"figures": figures, "measured_on": _hash_of(asked), "prompt": PROMPT_VERSION})
    write_card(
        folder / "model-card.md",
        recipe=recipe,
        recipe_path=ROOT / entry.recipe,
        parameters=entry.parameters,
        steps=entry.steps,
        data=describe(corpus),
        before=entry.before,
        after=figures,
    )
    register(entry, registry)
    return entry


def _hash_of(asked: list[Example]) -> str:
    """A hash of what the figures rest on."""
    measured = ((each.request.model_dump_json(), each.draft.acuity, each.draft.findings, each.draft.advice) for each in asked)
    return sha256("".join(map(str, measured)).encode()).hexdigest()[:12]


def spread(examples: list[Example], most: int | None) -> list[Example]:
    """At most `most` of the examples, evenly over all."""
    return examples if most is None or most >= len(examples) else [examples[at * len(examples) // most] for at in range(most)]


def export(trained: Any, tokenizer: Any, recipe: Recipe, folder: Path, work: Path) -> None:
    """The files that vLLM loads, with the tokenizer and the training's curve."""
    shutil.rmtree(folder, ignore_errors=True)
    if recipe.settings.lora is not None and recipe.export.kind == "merged":
        trained = trained.merge_and_unload()
    trained.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.copy(work / "curve.csv", folder / "curve.csv")
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes for its owner alone; vLLM runs as somebody else


def compare(before: Figures | None, after: Figures) -> None:
    """The figures side by side."""
    table = Table("", "before", "after", title=f"{after.messages} held-out messages")
    for name, share in after.shares().items():
        earlier = before.shares()[name] if before else None
        table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in (earlier, share)))
    Console().print(table)


def main(arguments: list[str] | None = None) -> int:
    """The command line; 2 where something given is broken, 1 where the gate stays closed."""
    parser = argparse.ArgumentParser(prog="aftercare train generator", description="Fine-tune the triage model by a recipe, or promote a candidate.")
    parser.add_argument("--recipe", type=Path, default=RECIPES / "reference.yaml", help="a file, or the name of one of generation/recipes/")
    parser.add_argument("--base", help="folder or hub name of a causal model, instead of the recipe's")
    parser.add_argument("--jsonl", type=Path, help='lines of {"text", "acuity", "patient"} to learn from, with or instead of the recipe\'s data')
    parser.add_argument("--out", type=Path, help="where the model goes (default: var/models/VERSION)")
    parser.add_argument("--minutes", type=float, help="instead of the recipe's")
    parser.add_argument("--prepare", action="store_true", help="make the examples (stages 1 and 2) and stop")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--registry", type=Path, default=REGISTRY, help="default: generation/registry.yaml")
    parser.add_argument("--measure", metavar="VERSION", help="measure a version of the registry again, on the messages as they are now")
    parser.add_argument("--promote", metavar="VERSION", help="let a candidate of generation/registry.yaml through the gate")
    parser.add_argument("--roll-back", metavar="VERSION", help="put a retired version back in service")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.measure:
            print(f"{measure_again(chosen.measure, chosen.registry).version} is measured again")
            return 0
        if chosen.promote:
            print(f"{promote(chosen.promote, chosen.registry).version} is promoted")
            return 0
        if chosen.roll_back:
            print(f"{roll_back(chosen.roll_back, chosen.registry).version} is back in service")
            return 0
        named = RECIPES / f"{chosen.recipe}.yaml"
        path = named if named.exists() else chosen.recipe
        if chosen.prepare:
            recipe = _given(read_recipe(path), chosen)
            work = HOME / "training" / recipe.name
            work.mkdir(parents=True, exist_ok=True)
            print(json.dumps(prepare(recipe, work).data))
            return 0
        entry = run(_given(read_recipe(path), chosen), path, chosen.out, chosen.registry, resume=chosen.resume)
        if entry is not None:
            print(f"{entry.version} is a candidate")
    except GateClosed as error:
        print(error, file=sys.stderr)
        return 1
    except (RecipeInvalid, BaseInvalid, CorpusInvalid, RegistryInvalid) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _given(recipe: Recipe, chosen: argparse.Namespace) -> Recipe:
    """The recipe with what the command line says instead."""
    if chosen.base:
        recipe = recipe.model_copy(update={"base": chosen.base})
    if chosen.jsonl:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"jsonl": chosen.jsonl})})
    if chosen.minutes:
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"minutes": chosen.minutes})})
    return recipe


if __name__ == "__main__":
    sys.exit(main())
