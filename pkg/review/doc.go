// Package review knows what is worth a warning about a valid security group though
// Azure accepts it: rules that never decide anything, rules that say what others say
// anyway, and ports that are open to the Internet. Each finding is proven on all
// flows by package flowspace; what cannot be proven is not told.
//
// It reads no documents, and nobody who enforces rules asks it.
package review
