"""SSH, on asyncssh: who we are, whom we trust, a pool that keeps connections warm, and commands over them."""

from opskit.transport.ssh.pool import Pool, SshTransport

__all__ = ["Pool", "SshTransport"]
