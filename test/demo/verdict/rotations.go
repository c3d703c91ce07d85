package main

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

// lineage is what the ledger says of the refresh tokens that descend from one consent.
type lineage struct {
	name     string
	clientID string
	// rotations is how often the newest refresh token was spent and another one came of it. newest is that, and request the
	// number of the token request that brought it.
	rotations int
	newest    string
	request   uint64
	spent     map[string]bool
	sends     []send
	// codes are the fingerprints of the codes that a person's consent brought, and exchanges the token requests with them.
	codes     []string
	exchanges []send
	revoked   bool
}

// send is a refresh token that reached a token endpoint.
type send struct {
	number   uint64
	received time.Time
	format   string
}

// judgeRotations follows the refresh tokens of each customer's account, from the one that was handed over, or that a code has
// brought, to the newest: each was to be claimed once, sent once, and its successor kept once.
func judgeRotations(v *verdict, entries []provider.Entry, accounts []*account, wanted limits) {
	lineages := lineagesOf(v, entries)
	owners := ownersOf(entries)
	imports, formats := 0, map[string]bool{}
	v.rotationsMin = -1
	for _, of := range accounts {
		if !of.rotates() {
			continue
		}
		if of.imported() {
			imports++
		}
		at := slices.IndexFunc(lineages, func(l *lineage) bool { return owners[l.name] == of.name })
		if at < 0 {
			v.lost++
			v.rotationsMin = 0
			v.wrongf("no token of the consent of the account %s was ever used", of.name)
			continue
		}
		consent := lineages[at]
		for _, sent := range consent.sends {
			formats[sent.format] = true
		}
		if v.rotationsMin < 0 || consent.rotations < v.rotationsMin {
			v.rotationsMin = consent.rotations
		}
		judgeCode(v, of, consent)
		judgeClaims(v, of, consent)
		judgeLoss(v, of, consent)
	}
	v.rotationsMin = max(v.rotationsMin, 0)
	if imports < wanted.imports {
		v.wrongf("%d imported accounts are less than %d", imports, wanted.imports)
	}
	if v.connected < wanted.connected {
		v.wrongf("%d accounts that a person connected are less than %d", v.connected, wanted.connected)
	}
	if v.rotationsMin < wanted.rotations {
		v.wrongf("%d rotations of some customer's account are less than %d", v.rotationsMin, wanted.rotations)
	}
	if !formats["json"] || !formats["form"] {
		v.wrongf("refresh tokens were not sent in both formats")
	}
	judgeProvider(v, entries, accounts)
}

// lineagesOf reads the lineages out of the ledger, in the order of their beginning. It finds what must not be in any.
func lineagesOf(v *verdict, entries []provider.Entry) []*lineage {
	known := map[string]*lineage{}
	var all []*lineage
	for _, entry := range entries {
		if entry.Kind == provider.KindRevoked && entry.AccessFingerprint == "" {
			for _, of := range all {
				of.revoked = of.revoked || of.name == entry.Lineage || entry.Lineage == "" && of.clientID == entry.ClientID
			}
			continue
		}
		if entry.Lineage == "" {
			continue
		}
		of := known[entry.Lineage]
		if of == nil {
			of = &lineage{name: entry.Lineage, clientID: entry.ClientID, spent: map[string]bool{}}
			known[of.name] = of
			all = append(all, of)
		}
		of.take(v, entry)
	}
	return all
}

// take takes up an entry of the lineage.
func (l *lineage) take(v *verdict, entry provider.Entry) {
	switch entry.Kind {
	case provider.KindCodeIssued:
		l.codes = append(l.codes, entry.CodeFingerprint)
	case provider.KindTokenRequest:
		made := send{number: entry.Request, received: entry.ReceivedTime, format: entry.Format}
		if entry.Grant == provider.GrantAuthorizationCode {
			l.exchanges = append(l.exchanges, made)
			return
		}
		l.sends = append(l.sends, made)
	case provider.KindReused:
		v.reused++
		v.wrongf("token request %d used a %s that was spent before", entry.Request, strings.ReplaceAll(entry.Reason, "_", " "))
	case provider.KindSpent:
		l.spent[entry.RefreshFingerprint] = true
	case provider.KindIssued:
		switch {
		case l.newest == "" && entry.ParentFingerprint == "":
		case entry.ParentFingerprint == l.newest && l.spent[l.newest]:
			l.rotations++
		default:
			v.wrongf("token request %d brought a refresh token that does not descend from the newest one", entry.Request)
		}
		l.newest, l.request = entry.RefreshFingerprint, entry.Request
	default:
	}
}

// ownersOf finds out whose lineage is whose: that of the account whose workload used its access tokens. That no two used the
// same token is looked at elsewhere.
func ownersOf(entries []provider.Entry) map[string]string {
	owners := map[string]string{}
	for _, entry := range entries {
		if entry.Kind == provider.KindAPI && entry.Expect == "" && entry.Outcome == provider.Granted && entry.Lineage != "" {
			owners[entry.Lineage] = entry.Workload
		}
	}
	return owners
}

// judgeCode counts an account that a person has connected: it wants one code, sent once, under a claim of its own, and the
// result kept when that ended. The account of an imported consent has none.
func judgeCode(v *verdict, of *account, consent *lineage) {
	if !of.consented {
		if len(consent.codes) > 0 {
			v.wrongf("the account %s, which imports a consent, has one that came by a code", of.name)
		}
		return
	}
	if len(consent.codes) != 1 || len(consent.exchanges) != 1 || len(of.exchanges) != 1 {
		v.wrongf("for the account %s a person has brought %d codes, and %d token requests were made with them under %d claims", of.name, len(consent.codes), len(consent.exchanges), len(of.exchanges))
		return
	}
	switch claim := of.exchanges[0]; {
	case !claim.openAt(consent.exchanges[0].received):
		v.wrongf("token request %d sent the code for the account %s, and its claim was not open", consent.exchanges[0].number, of.name)
	case claim.keep != 1:
		v.wrongf("the claim of the code for the account %s did not end with a result being kept", of.name)
	default:
		v.connected++
	}
}

// judgeClaims wants each refresh token to have been sent under a claim of its own, once, and each claim to have ended with
// what that brought.
func judgeClaims(v *verdict, of *account, consent *lineage) {
	sent := map[*claim]int{}
	for _, each := range consent.sends {
		at := slices.IndexFunc(of.claims, func(c *claim) bool { return c.openAt(each.received) })
		if at < 0 {
			v.wrongf("token request %d spent the refresh token of the account %s, and no claim was open", each.number, of.name)
			continue
		}
		sent[of.claims[at]]++
	}
	sequence := int64(len(of.exchanges)) // one counter for both
	for _, each := range of.claims {
		if each.sequence != sequence+1 {
			v.wrongf("claim %d of the account %s follows on claim %d", each.sequence, of.name, sequence)
		}
		sequence = each.sequence
		if each.written != 1 {
			v.wrongf("claim %d of the account %s was written %d times", each.sequence, of.name, each.written)
		}
		if sent[each] != 1 {
			v.wrongf("under claim %d of the account %s %d token requests were sent", each.sequence, of.name, sent[each])
		}
		if each.keep != each.rotation+1 {
			v.wrongf("claim %d of the account %s, on result %d, did not end with result %d being kept", each.sequence, of.name, each.rotation, each.rotation+1)
		}
	}
}

// judgeLoss wants the newest refresh token to be good, and to be what the account has kept last.
func judgeLoss(v *verdict, of *account, consent *lineage) {
	kept := slices.ContainsFunc(of.calls, func(c call) bool { return c.number == consent.request && c.kept == of.rotation() })
	switch {
	case consent.revoked:
		v.wrongf("the provider has ended the consent of the account %s", of.name)
	case !kept:
		v.wrongf("the newest refresh token of the account %s, which token request %d brought, is not what it has kept last", of.name, consent.request)
	default:
		return
	}
	v.lost++
}

// judgeProvider wants a provider that forgives nothing: one that ends a consent when a refresh token is used again.
func judgeProvider(v *verdict, entries []provider.Entry, accounts []*account) {
	strict := map[string]bool{}
	for _, entry := range entries {
		if entry.Kind == provider.KindRegistered {
			strict[entry.ClientID] = entry.Reuse == provider.RevokeFamily
		}
	}
	clients := map[string]bool{}
	for _, of := range accounts {
		clients[of.clientID] = clients[of.clientID] || of.rotates()
	}
	for _, id := range slices.Sorted(maps.Keys(clients)) {
		if clients[id] && !strict[id] {
			v.wrongf("the provider does not end a consent of the client %s when a refresh token is used again", id)
		}
	}
}
