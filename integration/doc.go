// Package integration holds the tests of the built plugins on real kernels:
// namespaces play the nodes, the pods and the VNet, and real packets tell
// whether a promise is kept. Run `make build peers` first, and run as root.
package integration
