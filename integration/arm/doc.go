// Package arm holds package pkg/arm against the types of Azure's own Go SDK:
// what they marshal must be read back field by field, so that a property which
// Azure renames is noticed. It is a module of its own: nothing that users build
// depends on the SDK.
package arm
