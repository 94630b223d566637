"""Compiled programs of JAX: seconds of compilation, and the folder that keeps them."""

from __future__ import annotations

import jax

from ....runtime.compile_cache import cache_folder

_STAGES = ("/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration")
_seconds = 0.0


def _listen(event: str, duration_secs: float, **_: str | int) -> None:
    global _seconds
    if event in _STAGES:
        _seconds += duration_secs


jax.monitoring.register_event_duration_secs_listener(_listen)


def compilation_seconds() -> float:
    """Seconds of compilation in this process so far: of lowering and compiling, or reading kept programs."""
    return _seconds


def keep_compiled() -> None:
    """Make JAX keep its programs in the folder that the environment variable names, unless it keeps them already."""
    folder = cache_folder("jax")
    if folder is not None and getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
