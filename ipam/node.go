package ipam

import (
	"bytes"
	"sort"
)

// node is a checked page of the tree.
type node struct {
	raw   []byte
	leaf  bool
	count int
}

// parseNode checks the layout that bbolt gives a page: the elements, then keys
// and values without a gap, keys in order, and each record with its checksum.
// A number of elements other than the written one breaks the layout.
func parseNode(raw []byte) (*node, error) {
	if len(raw) < pageHeaderSize {
		return nil, damaged("no room for a page")
	}
	flags := order.Uint16(raw[8:])
	n := &node{raw: raw, leaf: flags == leafFlag, count: int(order.Uint16(raw[10:]))}
	end := pageHeaderSize + n.count*elementSize
	if flags != leafFlag && flags != branchFlag || n.count == 0 || end > len(raw) {
		return nil, damaged("neither a leaf nor a branch")
	}
	for i := range n.count {
		start, keySize, valueSize := n.extent(i)
		if start != end || keySize == 0 || !n.within(i) {
			return nil, damaged("its records are not where they belong")
		}
		end = start + keySize + valueSize
		if i > 0 && bytes.Compare(n.key(i-1), n.key(i)) >= 0 {
			return nil, damaged("its records are out of order")
		}
		if n.leaf && !n.sealed(i) {
			return nil, damaged("a record does not match its checksum")
		}
	}
	return n, nil
}

// sealed reports whether a record matches its checksum. The bucket itself has
// none; readRoot looks at it.
func (n *node) sealed(i int) bool {
	if n.flags(i) == bucketElement {
		return true
	}
	start, keySize, valueSize := n.extent(i)
	return n.flags(i) == 0 && sealed(n.raw[start:start+keySize+valueSize], keySize)
}

func (n *node) element(i int) []byte {
	at := pageHeaderSize + i*elementSize
	return n.raw[at : at+elementSize]
}

// extent returns where a key starts, its length, and that of the value which
// follows.
func (n *node) extent(i int) (start, keySize, valueSize int) {
	e, at := n.element(i), pageHeaderSize+i*elementSize
	if n.leaf {
		return at + int(order.Uint32(e[4:])), int(order.Uint32(e[8:])), int(order.Uint32(e[12:]))
	}
	return at + int(order.Uint32(e)), int(order.Uint32(e[4:])), 0
}

// within reports whether the page holds all of an element's data.
func (n *node) within(i int) bool {
	start, keySize, valueSize := n.extent(i)
	return start+keySize+valueSize <= len(n.raw)
}

func (n *node) key(i int) []byte {
	start, size, _ := n.extent(i)
	return n.raw[start : start+size]
}

// value returns a leaf's value.
func (n *node) value(i int) []byte {
	start, keySize, size := n.extent(i)
	return n.raw[start+keySize : start+keySize+size]
}

// flags returns those of a leaf's element.
func (n *node) flags(i int) uint32 { return order.Uint32(n.element(i)) }

// child returns a branch's child.
func (n *node) child(i int) uint64 { return order.Uint64(n.element(i)[8:]) }

// childOf returns which child of a branch a key belongs to.
func (n *node) childOf(key []byte) int {
	after := sort.Search(n.count, func(i int) bool { return bytes.Compare(n.key(i), key) > 0 })
	return max(after-1, 0)
}

// find returns the value of a leaf's record, or nil.
func (n *node) find(key []byte) []byte {
	i, found := sort.Find(n.count, func(i int) int { return bytes.Compare(key, n.key(i)) })
	if !found {
		return nil
	}
	return n.value(i)
}
