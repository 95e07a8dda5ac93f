// Package policy knows which documents a network obeys and what of them is in
// force: it notices that they changed, keeps the last good ones, and turns them
// into what the firewall installs.
//
// It must not know how rules are enforced, how pods are attached, or the format
// of documents.
package policy
