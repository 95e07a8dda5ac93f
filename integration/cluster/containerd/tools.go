//go:build tools

// Package containerd pins the containerd 2 that nodes of the cluster run when
// they do not run the distribution's. A module of its own, for none of it is in
// what vnet-cni ships.
package containerd

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)
