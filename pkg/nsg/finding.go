package nsg

// Severity tells whether a finding keeps a document from being used.
type Severity string

// The severities of findings.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing that is wrong, or worth knowing, about a document.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"` // Azure's error code, or one of ours where Azure has none
	File     string   `json:"file"`
	NSG      string   `json:"nsg"`
	Rule     string   `json:"rule"`
	Property string   `json:"property"` // as in the REST document, such as "destinationPortRange"
	Value    string   `json:"value"`
	Message  string   `json:"message"`
}
