"""The way back through a graph, from the node that saved a file to models, prompts and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar

from comfyvn.generation.comfyui.graph import Graph, Link, Node, is_number, words
from comfyvn.generation.comfyui.literals import Facts, Literals, Unsure, agreed, places
from comfyvn.generation.comfyui.loras import Entry, loras_of
from comfyvn.generation.comfyui.pictures import input_images
from comfyvn.generation.comfyui.roles import (
    IMAGE,
    LATENT,
    condition_links,
    is_sampler,
    is_short,
    is_way,
    is_whole,
    makes_unseen,
    media_links,
    only_link,
    pipes,
    role_links,
    size_names,
    text_names,
)

__all__ = ["Walk"]

T = TypeVar("T")
P = ParamSpec("P")
Look = Callable[[Node], tuple[Any, str] | None]

_MOST_BRANCHES: Final = 8
_DEEPEST_BRANCH: Final = 3
_LONGEST_CHAIN: Final = 50
_LOADERS: Final = {
    "ckpt_name": "checkpoint",
    "unet_name": "unet",
    "gguf_name": "unet",
    "diffusion_model": "unet",
    "model_name": None,
    "model_path": None,
    "model": None,
}


def _sure(look: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | None:
    """Return what a look finds, None where that is not sure."""
    try:
        return look(*arguments, **named)
    except Unsure:
        return None


def _is_cfg(value: object) -> bool:
    return is_number(value) and -1000 <= value <= 1000


def _is_share(value: object) -> bool:
    return is_number(value) and 0 <= value <= 1


def _is_count(value: object) -> bool:
    return is_whole(value) and 0 < value <= 1_000_000


def _is_layer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value != 0 and abs(value) <= 100


@dataclass(slots=True)
class _Behind:
    """What stands behind a node: the samplers that come first on each way, and where the other ways begin."""

    samplers: list[Node] = field(default_factory=list)
    starts: list[tuple[Node, str | None]] = field(default_factory=list)
    decoders: list[Node] = field(default_factory=list)
    is_masked: bool = False


@dataclass(slots=True)
class _Prompt:
    """The texts of a prompt with their places, in the order of the graph, and the nodes that encode them."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    encoders: list[Node] = field(default_factory=list)


class Walk:
    """Walks through one graph. They end, with less told, after a number of steps for each input."""

    def __init__(self, graph: Graph) -> None:
        self._literals = Literals(graph)

    def of(self, saver: Node) -> Facts:
        """Return the facts of the file that this node saved."""
        facts = _sure(self._of_samplers, saver) or {}
        images = _sure(input_images, saver, self._literals)
        if images:
            facts["input_images"] = images
        return facts

    # --- From the file to its samplers

    def _of_samplers(self, saver: Node) -> Facts:
        behind = _Behind([saver]) if is_sampler(saver) else self._behind(saver)
        facts = self._made(behind, 0)
        if behind.samplers:
            decoders = behind.decoders or behind.samplers
            names = [_sure(self._vae, decoder) for decoder in decoders]
            facts |= agreed([{"vae": name} if name else {} for name in names])
        return facts

    def _behind(self, node: Node) -> _Behind:
        """Walk back from what a node is given, to samplers or to where nothing comes from."""
        behind = _Behind()
        waiting = self._onward(node, LATENT if is_sampler(node) else None)[::-1]
        seen: set[str] = set()
        is_mixed = False
        if not waiting:
            behind.starts.append((node, LATENT))
        while waiting:
            link, want = waiting.pop()
            node = self._literals.node(link)
            if node.id in seen:
                continue
            seen.add(node.id)
            if is_sampler(node):
                behind.samplers.append(node)
                continue
            if want != LATENT and makes_unseen(node):
                behind.starts.append((node, want))
                continue
            if want == IMAGE and role_links(node, "vae"):
                behind.decoders.append(node)
            behind.is_masked = behind.is_masked or any("mask" in words(name) for name in node.links)
            onward = self._onward(node, want)
            if not onward:
                behind.starts.append((node, want))
            is_mixed = is_mixed or (len(onward) > 1 and not words(node.kind).isdisjoint({"batch", "list"}))
            waiting += onward[::-1]
        if is_mixed and behind.samplers and any(want == IMAGE for _, want in behind.starts):
            raise Unsure  # in a batch each picture is one file: this one was sampled, or it was loaded
        return behind

    def _onward(self, node: Node, want: str | None) -> list[tuple[Link, str | None]]:
        """Return the links on which the picture came that a node gives, each with what it brings."""
        offered = self._literals.choices(node)
        if offered is not None:
            return [(link, want) for link in offered]
        if not is_way(node, want):
            return []
        links: list[tuple[Link, str | None]] = [*media_links(node, want)]
        if links:
            return links
        return [(link, want) for link in pipes(node) or _one(only_link(node))]

    def _made(self, behind: _Behind, depth: int) -> Facts:
        """Return the facts of what one of these samplers made, or, of several, those they share."""
        samplers = behind.samplers
        if len(samplers) == 1:
            return self._made_by(samplers[0], depth)
        if not samplers or len(samplers) > _MOST_BRANCHES or depth >= _DEEPEST_BRANCH:
            return {}
        return agreed([self._made_by(each, depth + 1) for each in samplers])

    def _made_by(self, sampler: Node, depth: int) -> Facts:
        chain = [sampler]
        while len((behind := self._before(chain[0])).samplers) == 1:
            if len(chain) >= _LONGEST_CHAIN or behind.samplers[0] in chain:
                raise Unsure
            chain.insert(0, behind.samplers[0])
        if behind.samplers:
            facts = self._made(behind, depth + 1)
            facts.pop("passes", None)
        else:
            facts = self._first_pass(chain[0], behind.starts)
        self._add_models(facts, chain, is_whole=not behind.samplers)
        if len(chain) > 1 and not behind.samplers:
            passes = [{name: value for name, (value, _) in self._sampling(each).items()} for each in chain]
            facts["passes"] = passes, places(self._literals.node_place(each) for each in chain)
        return facts

    def _before(self, sampler: Node) -> _Behind:
        """Return what stands behind a sampler; nothing if it makes its picture anew, from noise alone."""
        behind = self._behind(sampler)
        links = media_links(sampler, LATENT)
        if not behind.samplers or behind.is_masked or any(medium == IMAGE for _, medium in links):
            return behind
        values = sampler.values
        is_whole = values.get("start_at_step") == 0 and values.get("add_noise") == "enable"
        share = self._sampling(sampler).get("denoise")
        return _Behind() if is_whole or (share and share[0] == 1) else behind

    def _first_pass(self, sampler: Node, starts: list[tuple[Node, str | None]]) -> Facts:
        """Return how the first pass sampled, from what size and which prompts."""
        facts = self._sampling(sampler)
        encoders: list[Node] = []
        for name, role in (("prompt", "positive"), ("negative_prompt", "negative")):
            prompt = _sure(self._prompt, sampler, role)
            if prompt is None:
                continue
            texts = {text: place for text, place in prompt.texts if text.strip()}
            if texts:
                facts[name] = "\n".join(texts), places(texts.values())
            if role == "positive":
                encoders = prompt.encoders
        if facts.get("prompt") == facts.get("negative_prompt"):
            facts.pop("negative_prompt", None)  # both inputs are wired to one text: it says what is wanted
        layers = [_sure(self._clip_skip, node) for node in encoders]
        facts |= agreed([{"clip_skip": layer} if layer else {} for layer in layers])
        return facts | self._size(starts)

    def _size(self, starts: list[tuple[Node, str | None]]) -> Facts:
        """Return the size of the empty latent at the start; none where a picture is a start as well."""
        sizes: list[Facts] = []
        for node, want in starts:
            names = size_names(node) if want == LATENT else None
            width = self._literals.own(node, (names or ())[:1], _is_count)
            height = self._literals.own(node, (names or ())[1:], _is_count)
            sizes.append({"width": width, "height": height} if width and height else {})
        return agreed(sizes)

    # --- How a pass sampled

    def _sampling(self, sampler: Node) -> Facts:
        own = self._literals.own
        scheduling, is_whole_run = _sure(self._scheduling, sampler) or (None, False)
        guider = _sure(self._given, sampler, "guider") or sampler
        found = {
            "seed": _sure(self._seed, sampler),
            "cfg": own(guider, ("cfg", "cfg_scale"), _is_cfg),
        }
        if scheduling is not None:
            found["scheduler"] = own(scheduling, ("scheduler", "scheduler_name"), is_short)
            if is_whole_run:
                found["steps"] = own(scheduling, ("steps",), _is_count)
                found["denoise"] = own(scheduling, ("denoise",), _is_share)
        found["sampler"] = _sure(self._sampler_name, sampler)
        facts = {name: each for name, each in found.items() if each is not None}
        for name in {"cfg", "denoise"} & facts.keys():
            facts[name] = float(facts[name][0]), facts[name][1]
        return facts

    def _given(self, node: Node, name: str) -> Node | None:
        """Return the node behind an input, past those that only hand on; None if there is no link."""
        link = node.links.get(name)
        found = None
        while link is not None:
            found = self._literals.node(link)
            offered = self._literals.choices(found)
            if offered is not None and len(offered) != 1:
                raise Unsure
            link = offered[0] if offered else only_link(found)
        return found

    def _seed(self, sampler: Node) -> tuple[str, str] | None:
        """Return the seed; none where a pass goes on without adding noise, for which it has no use."""
        if sampler.values.get("add_noise") in ("disable", False):
            return None
        noise = self._given(sampler, "noise") or sampler
        if noise is not sampler and noise.links.keys() - {"seed", "noise_seed"}:
            return None
        found = self._literals.own(noise, ("noise_seed", "seed"), is_whole)
        return (str(found[0]), found[1]) if found else None

    def _scheduling(self, sampler: Node) -> tuple[Node, bool]:
        """Return the node that sets the steps, and whether this pass makes all of them."""
        node, is_whole_run = sampler, True
        while "sigmas" in node.links:
            is_whole_run = node is sampler
            node = self._given(node, "sigmas") or node
        return node, is_whole_run

    def _sampler_name(self, sampler: Node) -> tuple[str, str] | None:
        node = sampler
        while True:
            if found := self._literals.own(node, ("sampler_name",), is_short):
                return found
            if "sampler" not in node.links:
                return self._literals.own(node, ("sampler",), is_short)
            node = self._given(node, "sampler") or node

    # --- Prompts

    def _prompt(self, sampler: Node, role: str) -> _Prompt | None:
        """Return the texts that a sampler was given in a role; None if it was given none.

        Raises:
            Unsure: a text on the way can't be read, or several are mixed otherwise than by joining them.
        """
        guider = self._given(sampler, "guider") or sampler
        links = condition_links(guider, 0, role, by_pipe=True)
        if role == "negative" and any("cond" in name for name in guider.links):
            links = []  # a guider with one conditioning has no negative one, and with more it blends them
        is_shared = not role_links(guider, role)
        if not links and (names := text_names(guider, role, is_shared=True)):
            return _Prompt(self._encoded(guider, names), [guider])
        if len(links) > 1:
            raise Unsure
        waiting = [(link, is_shared) for link in links or pipes(guider)]
        return self._conditioning(waiting, role) if waiting else None

    def _conditioning(self, waiting: list[tuple[Link, bool]], role: str) -> _Prompt:
        """Walk back to texts, on links that carry one role or, as pipes do, share both."""
        prompt = _Prompt()
        seen: set[Link] = set()
        while waiting:
            link, is_shared = waiting.pop()
            node = self._literals.node(link)
            if link in seen or {"zero", "out"} <= words(node.kind):
                continue
            seen.add(link)
            onward = self._conditions(node, link.slot, role, is_shared)
            if onward:
                waiting += reversed(onward)
            elif names := text_names(node, role, is_shared=is_shared):
                prompt.texts += self._text_of(link, node, names)
                prompt.encoders.append(node)
            elif role == "positive" or not text_names(node, "positive", is_shared=is_shared):
                raise Unsure
        return prompt

    def _conditions(self, node: Node, slot: int, role: str, is_shared: bool) -> list[tuple[Link, bool]]:
        """Return the links on which a prompt came to a node; none if it is made there."""
        offered = self._literals.choices(node)
        if offered is not None:
            if len(offered) != 1:
                raise Unsure
            return [(offered[0], is_shared)]
        links = condition_links(node, slot, role, by_pipe=is_shared)
        names = text_names(node, role, is_shared=is_shared)
        has_text = any(isinstance(text := node.values.get(name), str) and text.strip() for name in names)
        if links and (has_text or (len(links) > 1 and not _only_joins(node))):
            raise Unsure
        if not links and not names:
            return [(link, True) for link in pipes(node)] or [
                (link, is_shared) for link in _one(only_link(node))
            ]
        return [(link, is_shared and not role_links(node, role)) for link in links]

    def _text_of(self, link: Link, node: Node, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return the texts of a node: of one that encodes them, or of one that hands a text on."""
        loads = any(name in _LOADERS for name in node.values)
        is_encoder = loads or any(name not in names for name in node.links)
        if is_encoder or (node.links and "encode" in words(node.kind)):
            return self._encoded(node, names)
        found = self._literals.text(link)
        if found is None:
            raise Unsure
        return [found]

    def _encoded(self, node: Node, names: Sequence[str]) -> list[tuple[str, str]]:
        texts = []
        for name in names:
            found = (node.values.get(name), self._literals.place(node, name))
            if name in node.links:
                found = self._literals.text(node.links[name]) or (None, "")
            if not isinstance(found[0], str):
                raise Unsure
            texts.append((found[0], found[1]))
        return texts

    def _clip_skip(self, encoder: Node) -> tuple[int, str] | None:
        found = self._on_the_way(encoder, "clip", lambda node: self._literals.own(
            node, ("stop_at_clip_layer", "clip_skip"), _is_layer
        ))  # fmt: skip
        return (abs(found[0]), found[1]) if found else None

    def _on_the_way(self, node: Node, role: str, look: Look) -> tuple[Any, str] | None:
        """Walk back in one role till something is found."""
        while True:
            found = look(node)
            if found:
                return found
            links = self._literals.choices(node)
            if links is None:
                links = role_links(node, role) or pipes(node) or _one(only_link(node))
            if len(links) != 1:
                return None
            node = self._literals.node(links[0])

    def _vae(self, decoder: Node) -> tuple[str, str] | None:
        return self._on_the_way(decoder, "vae", lambda node: self._literals.own(node, ("vae_name",), _is_vae))

    # --- Models

    def _add_models(self, facts: Facts, chain: Sequence[Node], *, is_whole: bool) -> None:
        """Add the models and LoRAs of all passes, the first one's first; no models if that is unknown."""
        found = [self._models(each) for each in chain]
        for which, name in enumerate(("models", "loras")):
            told = [each[which] for each in found]
            if name in facts:
                value, read_from = facts[name]
                told.insert(0, [(each, read_from) for each in value])
            elif name == "models" and (not is_whole or not told[0]):
                continue
            entries: dict[tuple[Any, ...], str] = {}
            for entry, place in (each for one in told for each in one):
                entries.setdefault(tuple(entry.items()), place)
            if entries:
                facts[name] = [dict(entry) for entry in entries], places(entries.values())

    def _models(self, sampler: Node) -> tuple[list[Entry], list[Entry]]:
        """Return the models that a sampler used, the base model first, and the LoRAs in their order."""
        models, groups, is_known = list[Entry](), list[list[Entry]](), True
        try:
            start = self._given(sampler, "guider") or sampler
            waiting = role_links(start, "model") or pipes(start)
            if not waiting and (own := self._loaded_model(start)):
                models.append(own)
            waiting, seen = waiting[::-1], set[str]()
            while waiting:
                node = self._literals.node(waiting.pop())
                if node.id in seen:
                    continue
                seen.add(node.id)
                groups += [loras_of(node, self._literals), *self._stacked(node)]
                links = self._before_model(node)
                waiting += reversed(links)
                if not links:
                    own = self._loaded_model(node)
                    is_known = is_known and own is not None
                    models += [own] if own else []
        except Unsure:
            is_known = False
        return models if is_known else [], [each for group in reversed(groups) for each in group]

    def _before_model(self, node: Node) -> list[Link]:
        offered = self._literals.choices(node)
        if offered is not None:
            if len(offered) != 1:
                raise Unsure
            return offered
        links = role_links(node, "model")
        if links or self._loaded_model(node):
            return links
        return pipes(node) or _one(only_link(node))

    def _loaded_model(self, node: Node) -> Entry | None:
        for name, kind in _LOADERS.items():
            found = self._literals.own(node, (name,), is_short)
            if found:
                return {"name": found[0], **({"kind": kind} if kind else {})}, found[1]
        return None

    def _stacked(self, node: Node) -> list[list[Entry]]:
        """Return the LoRAs of the stacks that a node is given, those nearest to it first."""
        groups = []
        waiting, seen = role_links(node, "lora"), set[str]()
        while waiting:
            node = self._literals.node(waiting.pop())
            if node.id not in seen:
                seen.add(node.id)
                groups.append(loras_of(node, self._literals))
                waiting += role_links(node, "lora") or _one(only_link(node))
        return groups


def _only_joins(node: Node) -> bool:
    """Does this node join conditionings, without weights or areas?"""
    return all(
        name == "inputcount" or (name == "operation" and value in ("combine", "concat"))
        for name, value in node.values.items()
    )


def _is_vae(value: object) -> bool:
    return is_short(value) and not str(value).lower().startswith("baked")


def _one(link: Link | None) -> list[Link]:
    return [] if link is None else [link]
