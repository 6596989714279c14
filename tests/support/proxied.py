# SPDX-License-Identifier: MIT
"""A mesh whose links all go through the fault proxy."""

from support import ports, proxy
from support.mesh import Mesh, peers_text


class ProxiedMesh(Mesh):
    """proxy.links["alpha>bravo"] carries what alpha connects to bravo; its `there` is what alpha
    says on it, its `back` what bravo answers. Clients connect to the replicas themselves.

    Each replica has a peers file of its own, with its own address as it is and ports of the proxy for
    the others. So the files differ, and `status` says so; nothing else comes of that.
    """

    def __init__(self, count=3, run=None, seed=1, **kwargs):
        super().__init__(count, run, **kwargs)
        self.proxy = proxy.Proxy(seed)
        self._paths = {name: self._write_peers_of(name) for name in self.names}

    def _write_peers_of(self, name):
        port, more = {name: self.port[name]}, None
        if self.more_ports:
            more = {name: self.more_ports[name]}
        for other in self.names:
            if other == name:
                continue
            own = {"port": self.port[other], **(self.more_ports or {}).get(other, {})}
            ours = dict(zip(own, ports.take(len(own))))
            self.proxy.link(f"{name}>{other}", {ours[what]: own[what] for what in own})
            port[other] = ours.pop("port")
            if more:
                more[other] = ours
        path = self.dir / f"peers.{name}.json"
        path.write_text(peers_text({n: port[n] for n in self.names}, more_ports_of=more))
        return path

    def path_of(self, name):
        return self._paths[name]

    def links(self, *patterns):
        return [link for pattern in patterns for link in self.proxy.matching(pattern)]

    def one_way(self, source, target):
        """The ways that lead from one replica to another one: (link, way) pairs. They carry what it
        asks on its own link, and what it answers on the other's."""
        return [(self.proxy.links[f"{source}>{target}"], "there"),
                (self.proxy.links[f"{target}>{source}"], "back")]

    def _close(self, failed):
        super()._close(failed)
        self.proxy.close()
