package template

import "fmt"

// Limits of a template. Those that Azure has too are its own:
// learn.microsoft.com/azure/azure-resource-manager/templates/best-practices and
// the pages about copy and range. The others only keep a hostile one from taking
// time or memory; what people write stays far below.
const (
	maxExpression = 24_576    // letters of an expression (Azure's)
	maxCopies     = 800       // of a loop (Azure's)
	maxRange      = 10_000    // elements of range() (Azure's)
	maxString     = 1 << 20   // bytes of a string that functions make
	maxNesting    = 100       // of an expression's calls, and of values in each other
	maxDepth      = 2_000     // of evaluations within another: variables that need variables
	maxSteps      = 5_000_000 // of a template altogether: a call, an element, 8 letters made or looked through
	maxResources  = 10_000    // that a template makes, deployments within it included
	maxProblems   = 1_000     // that are told
	resourceSteps = 10        // that looking at a resource takes
	faultSteps    = 20        // that an expression without a value takes
)

// meter counts what a template takes.
type meter struct {
	steps, depth, instances int
}

// spend takes n steps.
func (m *meter) spend(n int) error {
	if m.steps += n; m.steps > maxSteps {
		return fmt.Errorf("the template takes more than %d steps, the limit", maxSteps)
	}
	return nil
}

// deeper goes one evaluation deeper; the caller calls shallower in any case.
func (m *meter) deeper() error {
	if m.depth++; m.depth > maxDepth {
		return fmt.Errorf("evaluations are nested more than %d deep, the limit", maxDepth)
	}
	return m.spend(1)
}

func (m *meter) shallower() { m.depth-- }

// look takes the steps of looking through a string: what comes of a long one may be short.
func (m *meter) look(s string) error { return m.spend(len(s) / 8) }

// text takes the steps of a string that a function made.
func (m *meter) text(s string) error {
	if len(s) > maxString {
		return fmt.Errorf("a string of more than %d bytes, the limit", maxString)
	}
	return m.spend(1 + len(s)/8)
}
