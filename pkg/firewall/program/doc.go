// Package program compiles a network security group to what iptables can do:
// chains of rules that match by protocol, ports, addresses and sets, and end in
// DROP, RETURN or a chain further down.
//
// It is pure: it knows the model of package nsg and the words of iptables and
// ipset, and nothing of how a program gets into the kernel, of pods or of the
// chains around it.
package program
