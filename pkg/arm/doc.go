// Package arm reads Azure's documents into the model: network security groups,
// virtual networks, application security groups, route tables and the service
// tags' download file, in whichever form an exporter wrote them (the REST API,
// the az command line, PowerShell's ConvertTo-Json, ARM templates).
//
// It knows the forms and their traps. It does not judge rules (package nsg
// does) and knows nothing of how they are enforced.
package arm
