package ipam

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The layout of a bbolt file, version 2, in the machine's own byte order; see
// bbolt's internal/common. bbolt trusts what it reads: a page that leads back
// to itself overflows its stack, which no recover can catch, and a record that
// is missing is one that never was. So every page is checked before bbolt sees
// it. The cost is that of the path to a record, whatever the file's size.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeaderSize = 16 // id u64, flags u16, count u16, overflow u32
	elementSize    = 16 // leaf: flags, pos, ksize, vsize u32; branch: pos, ksize u32, page u64
	metaSize       = 64 // of which the last 8 are a checksum
	bucketSize     = 16 // root page u64, sequence u64; then the page itself if root is 0

	branchFlag   = 0x01
	leafFlag     = 0x02
	metaFlag     = 0x04
	freelistFlag = 0x10

	bucketElement = 0x01 // flag of a leaf element whose value is a bucket

	maxDepth = 16 // with two children a node, more pages than a file may have for its leases
)

var order = binary.NativeEndian

// pages reads a locked file's pages and checks those that it reads.
type pages struct {
	file     *os.File
	pageSize int
	high     uint64 // the first page that was never used
	size     int64  // of the file
	free     []byte // a bit for each page
	root     *node
	seen     map[uint64]*node
}

// meta is what a meta page says.
type meta struct {
	root, freelist, high, txid uint64
}

// readPages checks what every transaction relies on: both meta pages, the list
// of free pages and the way to the first and the last record.
func readPages(f *os.File) (*pages, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the size of %s: %w", f.Name(), err)
	}
	p := &pages{file: f, pageSize: os.Getpagesize(), size: info.Size(), seen: make(map[uint64]*node, 8)}
	m, err := p.readMeta()
	if err != nil {
		return nil, err
	}
	p.high = m.high
	if m.high < 4 || m.high > uint64(p.size)/uint64(p.pageSize) {
		return nil, damaged("it has %d bytes, fewer than its %d pages", p.size, m.high)
	}
	if err := p.readFree(m.freelist); err != nil {
		return nil, err
	}
	if err := p.readRoot(m.root); err != nil {
		return nil, err
	}
	return p, p.checkEnds()
}

// readMeta returns the newer meta page. bbolt falls back to the older one if
// the newer is damaged, and would so forget the last transaction: here both
// have to be good, and one transaction apart.
func (p *pages) readMeta() (meta, error) {
	raw, err := p.read(0, 2*p.pageSize)
	if err != nil {
		return meta{}, err
	}
	var metas [2]meta
	for i := range metas {
		m, ok := p.parseMeta(raw[i*p.pageSize:], uint64(i))
		if !ok {
			return meta{}, damaged("meta page %d is not one", i)
		}
		metas[i] = m
	}
	switch {
	case metas[0].txid == metas[1].txid+1:
		return metas[0], nil
	case metas[1].txid == metas[0].txid+1:
		return metas[1], nil
	}
	return meta{}, damaged("its meta pages are of transactions %d and %d", metas[0].txid, metas[1].txid)
}

func (p *pages) parseMeta(raw []byte, id uint64) (meta, bool) {
	body := raw[pageHeaderSize:]
	sum := fnv.New64a()
	sum.Write(body[:metaSize-8])
	ok := order.Uint64(raw) == id && order.Uint16(raw[8:]) == metaFlag &&
		order.Uint32(body) == boltMagic && order.Uint32(body[4:]) == boltVersion &&
		order.Uint32(body[8:]) == uint32(p.pageSize) && order.Uint64(body[metaSize-8:]) == sum.Sum64()
	m := meta{root: order.Uint64(body[16:]), freelist: order.Uint64(body[32:]), high: order.Uint64(body[40:]), txid: order.Uint64(body[48:])}
	return m, ok && m.txid%2 == id
}

// readFree reads the list of free pages: ascending, and each a page of the file.
func (p *pages) readFree(id uint64) error {
	raw, err := p.raw(id, freelistFlag)
	if err != nil {
		return err
	}
	body := raw[pageHeaderSize:]
	count := uint64(order.Uint16(raw[10:]))
	if count == 0xFFFF {
		count, body = order.Uint64(body), body[8:]
	}
	if count > uint64(len(body)/8) {
		return damaged("the list of free pages is longer than its pages")
	}
	p.free = make([]byte, p.high/8+1)
	last := uint64(1)
	for i := range count {
		page := order.Uint64(body[8*i:])
		if page <= last || page >= p.high {
			return damaged("the list of free pages is out of order")
		}
		p.free[page/8] |= 1 << (page % 8)
		last = page
	}
	if p.isFree(id) {
		return damaged("the list of free pages lists itself")
	}
	return nil
}

func (p *pages) isFree(id uint64) bool { return p.free[id/8]&(1<<(id%8)) != 0 }

// readRoot finds the one bucket.
func (p *pages) readRoot(id uint64) error {
	top, err := p.load(id)
	if err != nil {
		return err
	}
	if !top.leaf || top.count != 1 || top.flags(0) != bucketElement ||
		!bytes.Equal(top.key(0), bucketName) || len(top.value(0)) < bucketSize {
		return damaged("it has other contents than leases")
	}
	value := top.value(0)
	if root := order.Uint64(value); root != 0 {
		p.root, err = p.load(root)
		return err
	}
	p.root, err = parseNode(value[bucketSize:])
	return err
}

// checkEnds makes sure that the root is the root: a page below it, or an older
// one, lacks one of the ends.
func (p *pages) checkEnds() error {
	for _, key := range [][]byte{headerKey, endKey} {
		leaf, err := p.path(key, false)
		if err != nil {
			return err
		}
		if leaf.find(key) == nil {
			return damaged("one end of the leases is missing")
		}
	}
	return nil
}

// get returns the value of a record, or nil.
func (p *pages) get(key []byte) ([]byte, error) {
	leaf, err := p.path(key, false)
	if err != nil {
		return nil, err
	}
	return leaf.find(key), nil
}

// path checks all pages that lead to a key, and that the key cannot be in the
// next ones; with neighbours, also those that bbolt may merge them with. It
// returns the leaf.
func (p *pages) path(key []byte, neighbours bool) (*node, error) {
	n := p.root
	for range maxDepth {
		if n.leaf {
			return n, nil
		}
		i := n.childOf(key)
		if err := p.checkBeside(n, i, neighbours); err != nil {
			return nil, err
		}
		child, err := p.step(n, i)
		if err != nil {
			return nil, err
		}
		n = child
	}
	return nil, damaged("its tree is deeper than %d pages", maxDepth)
}

// checkBeside checks the pages on both sides of a child.
func (p *pages) checkBeside(n *node, i int, neighbours bool) error {
	var err error
	if neighbours && i > 0 {
		_, err = p.step(n, i-1)
	}
	if err != nil || i+1 >= n.count {
		return err
	}
	if neighbours {
		_, err = p.step(n, i+1)
		return err
	}
	return p.checkFirst(n, i+1)
}

// checkFirst compares just the first key of a child with the parent's.
func (p *pages) checkFirst(n *node, i int) error {
	id := n.child(i)
	if p.seen[id] != nil {
		return nil
	}
	raw, err := p.raw(id, leafFlag|branchFlag)
	if err != nil {
		return err
	}
	first := &node{raw: raw, leaf: order.Uint16(raw[8:]) == leafFlag, count: 1}
	if order.Uint16(raw[10:]) == 0 || !first.within(0) || !bytes.Equal(first.key(0), n.key(i)) {
		return damaged("page %d is not the one that its parent means", id)
	}
	return nil
}

// step loads a child and compares its first key with the parent's.
func (p *pages) step(n *node, i int) (*node, error) {
	child, err := p.load(n.child(i))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(child.key(0), n.key(i)) {
		return nil, damaged("page %d is not the one that its parent means", n.child(i))
	}
	return child, nil
}

// walk calls fn for every record, in order.
func (p *pages) walk(fn func(key, value []byte) error) error {
	return p.walkNode(p.root, 0, fn)
}

func (p *pages) walkNode(n *node, depth int, fn func(key, value []byte) error) error {
	if depth > maxDepth {
		return damaged("its tree is deeper than %d pages", maxDepth)
	}
	for i := range n.count {
		if n.leaf {
			if err := fn(n.key(i), n.value(i)); err != nil {
				return err
			}
			continue
		}
		child, err := p.step(n, i)
		if err != nil {
			return err
		}
		if err := p.walkNode(child, depth+1, fn); err != nil {
			return err
		}
	}
	return nil
}

// load reads and checks a page once.
func (p *pages) load(id uint64) (*node, error) {
	if n := p.seen[id]; n != nil {
		return n, nil
	}
	raw, err := p.raw(id, leafFlag|branchFlag)
	if err != nil {
		return nil, err
	}
	if p.isFree(id) {
		return nil, damaged("page %d is in use and listed as free", id)
	}
	n, err := parseNode(raw)
	if err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	p.seen[id] = n
	return n, nil
}

// raw reads a page with its overflow, if it is of one of the kinds.
func (p *pages) raw(id uint64, kinds uint16) ([]byte, error) {
	if id < 2 || id >= p.high {
		return nil, damaged("page %d does not exist", id)
	}
	raw, err := p.read(int64(id)*int64(p.pageSize), p.pageSize)
	if err != nil {
		return nil, err
	}
	if order.Uint64(raw) != id || order.Uint16(raw[8:])&^kinds != 0 {
		return nil, damaged("page %d is something else", id)
	}
	overflow := uint64(order.Uint32(raw[12:]))
	if overflow == 0 {
		return raw, nil
	}
	if overflow >= p.high-id {
		return nil, damaged("page %d is longer than the file", id)
	}
	return p.read(int64(id)*int64(p.pageSize), int(overflow+1)*p.pageSize)
}

func (p *pages) read(offset int64, size int) ([]byte, error) {
	if offset+int64(size) > p.size {
		return nil, damaged("it has only %d bytes", p.size)
	}
	raw := make([]byte, size)
	if _, err := p.file.ReadAt(raw, offset); err != nil {
		if err == io.EOF {
			return nil, damaged("it ends at byte %d or before", offset+int64(size))
		}
		return nil, fmt.Errorf("reading %s: %w", p.file.Name(), err)
	}
	return raw, nil
}

// writeEmpty writes the four pages of an empty database, as bbolt's own
// initialisation does; that would call fdatasync(2).
func writeEmpty(f *os.File) error {
	size := os.Getpagesize()
	raw := make([]byte, 4*size)
	for id := range uint64(4) {
		page := raw[int(id)*size:]
		order.PutUint64(page, id)
		switch id {
		case 2:
			order.PutUint16(page[8:], freelistFlag)
		case 3:
			order.PutUint16(page[8:], leafFlag)
		default:
			order.PutUint16(page[8:], metaFlag)
			putMeta(page[pageHeaderSize:], meta{root: 3, freelist: 2, high: 4, txid: id}, size)
		}
	}
	if _, err := f.WriteAt(raw, 0); err != nil {
		return err
	}
	return nil
}

func putMeta(body []byte, m meta, pageSize int) {
	order.PutUint32(body, boltMagic)
	order.PutUint32(body[4:], boltVersion)
	order.PutUint32(body[8:], uint32(pageSize))
	order.PutUint64(body[16:], m.root)
	order.PutUint64(body[32:], m.freelist)
	order.PutUint64(body[40:], m.high)
	order.PutUint64(body[48:], m.txid)
	sum := fnv.New64a()
	sum.Write(body[:metaSize-8])
	order.PutUint64(body[metaSize-8:], sum.Sum64())
}
