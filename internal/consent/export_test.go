package consent

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// examples are one page of each kind, with all that can be on it.
func examples() map[string]page {
	of := page{
		Account: "acme", Namespace: "shop", Client: "smartbusiness", ClientNamespace: "platform", Provider: "login.provider.example",
		Scopes: []string{"invoices", "contact"}, Ticket: "TICKET", Action: "https://oauth.example.com/connect",
		Again: "https://oauth.example.com/result?flow=HASH&looked=1",
	}
	all := map[string]page{}
	for kind := range faces() {
		example := of
		example.kind = kind
		switch kind {
		case pageWorking:
			example.refreshAfter = time.Second
		case pageConnected, pageApproval, pageWrongAccount:
			example.Identity = "ada@example.com"
			example.Expected = "billing@acme.example"
		case pageProviderError:
			example.Code = "temporarily_unavailable"
		case pageWaiting:
			example.retryAfter = 42 * time.Minute
		default:
		}
		all[string(kind)] = example
	}
	full := all["start"]
	full.Expected, full.Approval = "billing@acme.example", true
	full.Provider = "login.a-rather-long-name-of-a-department.provider-of-something.example:8443"
	full.Client = "registration-with-a-name-that-is-quite-long-because-somebody-wanted-it-so"
	full.Scopes = []string{"invoices", "https://www.provider.example/auth/spreadsheets.currentonly.and.more.readonly", "contact", "offline_access"}
	all["start-long"] = full
	seen := all["connected"]
	seen.Seen = true
	all["connected-seen"] = seen
	nobody := all["connected"]
	nobody.Identity = ""
	all["connected-nobody"] = nobody
	return all
}

// Specimens are the names of the examples, sorted.
func Specimens() []string { return slices.Sorted(maps.Keys(examples())) }

// ShowSpecimen answers with an example.
func ShowSpecimen(w http.ResponseWriter, base *url.URL, name string) error {
	made, err := newPages(base)
	if err != nil {
		return err
	}
	made.show(w, examples()[name])
	return nil
}

// PageKinds are the names of all pages, sorted.
func PageKinds() []string {
	var names []string
	for kind := range faces() {
		names = append(names, string(kind))
	}
	return slices.Sorted(slices.Values(names))
}
