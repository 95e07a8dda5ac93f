// Package template resolves Azure Resource Manager templates: their
// expressions, parameters, variables, loops, conditions, child resources and
// nested deployments become the resources that a deployment would make.
//
// It knows the language, which Microsoft documents under
// learn.microsoft.com/azure/azure-resource-manager/templates, and is pure: no
// file, no network, no clock. It must not know what a network security group is,
// and what cannot be known without Azure is a Fault where somebody would read it,
// never a guess. Of what a hostile template may take there is a bound, see limits.go.
package template
