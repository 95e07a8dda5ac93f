// Package tally counts what verbs came to: how long they took and which codes they
// ended with, per network, in a file of the state directory that all processes
// map and add to without a lock.
//
// It knows its file only. It must not know what a verb does, and must not make the
// state directory: whoever counts is not to leave anything where nothing was.
package tally
