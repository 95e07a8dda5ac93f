package ipam

import (
	"bytes"
	"testing"
)

// FuzzStoreFile changes a good file at a place, or replaces it by the bytes.
func FuzzStoreFile(f *testing.F) {
	v := newVictim(f, 60)
	f.Add([]byte{1}, uint32(4096*4+9), false)
	f.Add([]byte("noise"), uint32(80), false)
	f.Add(v.content[:4096*8], uint32(0), true)
	f.Add([]byte{}, uint32(0), true)
	f.Fuzz(func(t *testing.T, data []byte, at uint32, whole bool) {
		content := data
		if !whole {
			content = bytes.Clone(v.content)
			copy(content[int(at)%len(content):], data)
		}
		v.expect(t, "fuzzed", content)
	})
}
