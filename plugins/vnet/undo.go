package main

import (
	"errors"
	"fmt"
)

// undo is the stack of what an ADD has to take back if a later step fails.
type undo struct{ steps []undoStep }

type undoStep struct {
	what string
	do   func() error
}

// push adds the reversal of a step that was just done.
func (u *undo) push(what string, do func() error) {
	u.steps = append(u.steps, undoStep{what, do})
}

// disarm forgets everything: the ADD has succeeded.
func (u *undo) disarm() { u.steps = nil }

// unwind reverts the steps, last first, and returns cause with whatever could not
// be reverted added: a step that fails does not keep the others from running.
func (u *undo) unwind(cause error) error {
	var failed []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		if err := u.steps[i].do(); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", u.steps[i].what, err))
		}
	}
	u.steps = nil
	if len(failed) == 0 {
		return cause
	}
	return fmt.Errorf("%w (and the rollback left something behind, which DEL removes: %w)", cause, errors.Join(failed...))
}
