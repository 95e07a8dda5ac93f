// Package testnet builds small networks out of network namespaces for the
// integration tests: nodes on a bridge that plays the VNet, a gateway, a host
// beyond it, and pods; it drives CNI plugins in them, sends real packets, and
// tells what a verb left behind.
//
// It knows namespaces, links, sockets and how a CNI runtime calls a plugin. It
// must not know how the plugins under test work: no name of a chain, a set or
// a host veth is derived here.
//
// Everything it makes carries the process id and a counter in its name and is
// removed when the test ends, failed or not.
package testnet

import "runtime"

// The main goroutine keeps the main thread, so that no test goroutine ever
// moves that thread to another namespace: /proc/self speaks of the main thread.
func init() { runtime.LockOSThread() }
