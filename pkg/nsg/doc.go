// Package nsg is the model of Azure's network security groups: rules as
// documents state them, their validation with Azure's codes, and the evaluation
// of a flow with its reason.
//
// It is pure: it reads no file, knows no form of document and nothing of how
// rules are enforced.
package nsg
