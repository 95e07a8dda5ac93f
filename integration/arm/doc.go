// Package arm holds package pkg/arm, and the answers of vnetctl that have Azure's
// shape, against the types of Azure's own Go SDK: what they marshal must be read back
// field by field, and what vnetctl writes must arrive in their fields, so that a
// property which Azure renames is noticed. It is a module of its own: nothing that
// users build depends on the SDK.
package arm
