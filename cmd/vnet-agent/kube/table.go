package kube

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

// table keeps what is needed of the objects of one resource, by "namespace/name"
// or name. It is the store that a cache.Reflector writes to.
type table[T any] struct {
	reduce  func(object any) (T, error)
	changed func()

	mu     sync.RWMutex
	rows   map[string]T
	filled chan struct{} // closed when the first listing is in
}

// row is what the reflector holds, instead of the object, until a listing that is
// streamed is whole.
type row[T any] struct {
	key   string
	value T
}

var _ cache.TransformingStore = (*table[Node])(nil)

func newTable[O runtime.Object, T any](reduce func(O) T, changed func()) *table[T] {
	return &table[T]{
		reduce: func(object any) (T, error) {
			o, ok := object.(O)
			if !ok {
				var none T
				return none, fmt.Errorf("have a %T, want a %T", object, o)
			}
			return reduce(o), nil
		},
		changed: changed,
		filled:  make(chan struct{}),
	}
}

// Transformer makes objects into rows as they arrive.
func (t *table[T]) Transformer() cache.TransformFunc {
	return func(object any) (any, error) { return t.row(object) }
}

func (t *table[T]) row(object any) (row[T], error) {
	if r, ok := object.(row[T]); ok {
		return r, nil
	}
	key, err := cache.MetaNamespaceKeyFunc(object)
	if err != nil {
		return row[T]{}, err
	}
	value, err := t.reduce(object)
	return row[T]{key, value}, err
}

// Add puts in a new object.
func (t *table[T]) Add(object any) error { return t.Update(object) }

// Update puts in an object. Most updates are of what is not kept, such as a pod's
// status, and wake nobody.
func (t *table[T]) Update(object any) error {
	r, err := t.row(object)
	if err != nil {
		return err
	}
	t.mu.Lock()
	old, had := t.rows[r.key]
	t.rows[r.key] = r.value
	t.mu.Unlock()
	if !had || !reflect.DeepEqual(old, r.value) {
		t.changed()
	}
	return nil
}

// Delete takes an object out.
func (t *table[T]) Delete(object any) error {
	key, err := cache.MetaNamespaceKeyFunc(object)
	if err != nil {
		return err
	}
	t.mu.Lock()
	_, had := t.rows[key]
	delete(t.rows, key)
	t.mu.Unlock()
	if had {
		t.changed()
	}
	return nil
}

// Replace puts in a listing.
func (t *table[T]) Replace(objects []any, _ string) error {
	rows := make(map[string]T, len(objects))
	for _, o := range objects {
		r, err := t.row(o)
		if err != nil {
			return err
		}
		rows[r.key] = r.value
	}
	t.mu.Lock()
	first := t.rows == nil
	same := !first && reflect.DeepEqual(t.rows, rows)
	t.rows = rows
	t.mu.Unlock()
	if first {
		close(t.filled)
	}
	if !same {
		t.changed()
	}
	return nil
}

// Resync does nothing: rows do not age.
func (t *table[T]) Resync() error { return nil }

func (t *table[T]) get(key string) (T, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	value, ok := t.rows[key]
	return value, ok
}

// copied returns all rows. What they point to is never written again.
func (t *table[T]) copied() map[string]T {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.rows == nil {
		return map[string]T{}
	}
	return maps.Clone(t.rows)
}

// sorted returns all rows in the order of their keys.
func (t *table[T]) sorted() []T {
	rows := t.copied()
	list := make([]T, 0, len(rows))
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		list = append(list, rows[key])
	}
	return list
}
