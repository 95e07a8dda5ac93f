package main

import (
	"errors"
	"fmt"
	"slices"
)

// undo is the stack of what an ADD has to take back if a later step fails.
type undo struct{ steps []undoStep }

type undoStep struct {
	what string
	do   func() error
	last bool
}

// push adds the reversal of a step that was just done, or is about to be.
func (u *undo) push(what string, do func() error) {
	u.steps = append(u.steps, undoStep{what: what, do: do})
}

// pushRecord adds the removal of the record by which DEL finds everything else:
// it stays if something else could not be reverted.
func (u *undo) pushRecord(what string, do func() error) {
	u.steps = append(u.steps, undoStep{what: what, do: do, last: true})
}

// disarm forgets everything: the ADD has succeeded.
func (u *undo) disarm() { u.steps = nil }

// unwindBy is unwind within what may have to surround it.
func (u *undo) unwindBy(cause error, around func(unwind func() error) error) error {
	var unwound error
	err := around(func() error {
		unwound = u.unwind(cause)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w (and nothing was rolled back, which DEL does: %w)", cause, err)
	}
	return unwound
}

// unwind reverts the steps, last first, and returns cause with whatever could not
// be reverted added: a step that fails does not keep the others from running.
func (u *undo) unwind(cause error) error {
	var failed []error
	for _, s := range slices.Backward(u.steps) {
		if s.last && len(failed) > 0 {
			continue
		}
		if err := s.do(); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.what, err))
		}
	}
	u.steps = nil
	if len(failed) == 0 {
		return cause
	}
	return fmt.Errorf("%w (and the rollback left something behind, which DEL removes: %w)", cause, errors.Join(failed...))
}
