package verb

import (
	"errors"
	"fmt"
	"slices"
)

// Undo is the stack of what an ADD has to take back if a later step fails.
type Undo struct{ steps []undoStep }

type undoStep struct {
	what string
	do   func() error
	last bool
}

// Push adds the reversal of a step that was just done, or is about to be.
func (u *Undo) Push(what string, do func() error) {
	u.steps = append(u.steps, undoStep{what: what, do: do})
}

// PushRecord adds the removal of the record by which DEL finds everything else:
// it stays if something else could not be reverted.
func (u *Undo) PushRecord(what string, do func() error) {
	u.steps = append(u.steps, undoStep{what: what, do: do, last: true})
}

// UnwindBy is Unwind within what may have to surround it, unless there is nothing to revert.
func (u *Undo) UnwindBy(cause error, around func(unwind func() error) error) error {
	if len(u.steps) == 0 {
		return cause
	}
	var unwound error
	err := around(func() error {
		unwound = u.Unwind(cause)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w (and nothing was rolled back, which DEL does: %w)", cause, err)
	}
	return unwound
}

// Unwind reverts the steps, last first, and returns cause with whatever could not
// be reverted added: a step that fails does not keep the others from running.
func (u *Undo) Unwind(cause error) error {
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
