"""How hosts are reached: one file a way. Each way implements the protocols of `opskit.engine.ports`."""
