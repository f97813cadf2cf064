"""What `rope-eval theory` speaks of: its flags, a row of the catalogue, a model's config."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from rope_eval.commands.configs import read_config
from rope_eval.errors import SpecError
from rope_eval.lengths import parse_length
from rope_eval.rope.facts import Facts
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.spec import RopeSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class TheorySetting:
    """The numbers that the laws are asked with, as their functions name them."""

    head_dim: int
    train_length: int
    tune_length: int
    rope_theta: float
    pretrain_theta: float

    @classmethod
    def of(cls, facts: Facts) -> TheorySetting:
        """Return those of a checkpoint; one that is not known is a `SpecError`."""
        needed = {
            name: facts.laws.require(name, "theory", f"--{name.replace('_', '-')} …")
            for name in ("train_length", "pretrain_theta")
        }
        return cls(
            head_dim=facts.geometry.rotary_dim,
            tune_length=int(facts.laws.tune_length.value or needed["train_length"]),
            rope_theta=facts.rope_theta,
            **needed,
        )


def facts_of(args: argparse.Namespace) -> tuple[Facts, str]:
    """Put the flags and the model's config together, flags first; also say where the config is."""
    given: dict[str, Any] = {
        name: None if value is None else parse_length(value)
        for name, value in (("train_length", args.train_length), ("tune_length", args.tune_length))
    }
    given |= {"pretrain_theta": args.pretrain_theta, "rope_theta": args.rope_theta}
    spec = RopeSpec(**given)
    model = args.model
    if args.config is not None:
        from rope_eval.setting import resolve

        flags = {name: value for name, value in given.items() if value is not None}
        setting = resolve(model, args.config, flags)
        model, spec = setting.checkpoint, setting.rope
    if model is None:
        for flag, value in (("--head-dim", args.head_dim), ("--train-length", args.train_length)):
            _require(value, f"{flag} is missing", flag)
        _require(args.pretrain_theta, "--pretrain-theta is missing", "--pretrain-theta")
        geometry = RotaryGeometry(
            head_dim=args.head_dim,
            rotary_dim=args.head_dim,
            rope_theta=args.pretrain_theta,
            train_length=None,
        )
        return Facts(spec, geometry), ""
    config = read_config(model)
    if config.differs_by_layer:
        for flag in ("--head-dim", "--rope-theta", "--pretrain-theta"):
            if getattr(args, flag[2:].replace("-", "_")) is None:
                raise SpecError(
                    f"{config.where} has RoPE parameters for each type of layer: choose with {flag}"
                )
    dim = config.rotary_dim if args.head_dim is None else args.head_dim
    base = spec.rope_theta or config.rope_theta
    if dim is None:
        sizes = "head_dim, nor hidden_size and num_attention_heads"
        raise SpecError(f"{config.where} has no {sizes}: give --head-dim")
    if base is None:
        raise SpecError(f"{config.where} has no rope_theta: give --rope-theta")
    geometry = RotaryGeometry(
        head_dim=dim,
        rotary_dim=dim,
        rope_theta=base,
        train_length=config.train_length,
        rope_type=config.rope_type,
        laws=config.laws,
    )
    return Facts(spec, geometry), config.where


def _require(value: object, missing: str, flag: str) -> None:
    if value is None:
        raise SpecError(f"{missing}: give it, or take a model's with --model DIR or --config NAME")
