package arm

import (
	"net/netip"
	"slices"
	"strings"
)

// serviceTags reads the service tags' download file, or what the API answers.
// The tags of several files add up; one that two files give differently is an
// error, for files of different weeks or clouds must not be mixed.
func (r *reader) serviceTags(v value) {
	if r.docs.ServiceTags == nil {
		r.docs.ServiceTags = map[string][]netip.Prefix{}
	}
	if r.docs.tagFiles == nil {
		r.docs.tagFiles = map[string]string{}
	}
	for _, item := range r.objects("values", v.get("values")) {
		if name, _, ok := r.identity(item); ok {
			r.addTag(strings.ToLower(name), r.prefixes("addressPrefixes", r.open(item).get("addressPrefixes")))
		}
	}
	r.nextLink(v)
}

func (r *reader) addTag(name string, prefixes []netip.Prefix) {
	known, twice := r.docs.ServiceTags[name]
	if !twice {
		r.docs.ServiceTags[name] = prefixes
		r.docs.tagFiles[name] = r.file
		return
	}
	if !slices.Equal(known, prefixes) {
		r.tagsOff = append(r.tagsOff, name)
		r.tagsOf = r.docs.tagFiles[name]
	}
}

// finishTags tells of all differing tags at once: two weeks' files differ in many.
func (r *reader) finishTags() {
	if len(r.tagsOff) == 0 {
		return
	}
	r.broken(Conflict, counted(len(r.tagsOff), "service tag differs", "service tags differ")+
		" from what "+r.tagsOf+" says: "+enumerate(r.tagsOff))
}
