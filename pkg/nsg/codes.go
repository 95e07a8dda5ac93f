package nsg

// Azure's error codes, as its REST interface answers them.
const (
	CodeConflict          = "SecurityRuleConflict"
	CodeUnsupportedValue  = "SecurityRuleParameterContainsUnsupportedValue"
	CodeInvalidPrefix     = "SecurityRuleInvalidAddressPrefix"
	CodeOverlap           = "OverlappingSubnetsNotPermittedInSecurityRule"
	CodeMixedFamilies     = "ResourceCannotContainAddressPrefixesFromDifferentAddressFamilies"
	CodeInvalidPortRange  = "SecurityRuleInvalidPortRange"
	CodeInvalidPriority   = "SecurityRuleInvalidPriority"
	CodeParameterMissing  = "SecurityRuleParameterMissing"  // one property that has no alternative
	CodeParametersMissing = "SecurityRuleParametersMissing" // none of several alternatives
	CodeInvalidName       = "InvalidResourceName"
)

// Codes of ours, where no source tells Azure's.
const (
	CodeNameMissing       = "ResourceNameMissing"
	CodeDuplicateName     = "SecurityRuleDuplicateName"
	CodeInvalidValue      = "SecurityRuleInvalidValue"
	CodeAlternatives      = "SecurityRuleParametersConflict" // more than one of several alternatives
	CodeInvalidASG        = "SecurityRuleInvalidApplicationSecurityGroup"
	CodeLimitExceeded     = "NetworkSecurityGroupLimitExceeded"
	CodeDescriptionLength = "SecurityRuleDescriptionTooLong"
	CodeNeverMatches      = "SecurityRuleNeverMatches"
)
