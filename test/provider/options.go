package provider

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

// Contract names one of the two sets of rules that the server plays.
type Contract string

const (
	// SmartBusiness wants JSON bodies with a scope in every token request.
	SmartBusiness Contract = "SmartBusiness"
	// Smartbills wants form bodies without a scope, and takes an on-behalf-of header on API requests.
	Smartbills Contract = "Smartbills"
)

// ReuseKind says what happens when a refresh token is presented again after it was spent.
type ReuseKind string

const (
	// Strict refuses the token and does nothing else. It is the default.
	Strict ReuseKind = "Strict"
	// RevokeFamily refuses the token and revokes the whole lineage.
	RevokeFamily ReuseKind = "RevokeFamily"
	// RevokeUser refuses the token and revokes every lineage that the user granted to the client.
	RevokeUser ReuseKind = "RevokeUser"
	// GraceSameSuccessor answers, within the grace, with the same successor and a fresh access token.
	GraceSameSuccessor ReuseKind = "GraceSameSuccessor"
	// GraceSeveral answers, within the grace, with one more successor; all of them live.
	GraceSeveral ReuseKind = "GraceSeveral"
	// GraceOnlyLast answers, within the grace, with a new successor; the refresh tokens issued before it die.
	GraceOnlyLast ReuseKind = "GraceOnlyLast"
	// Reusable never spends a refresh token, and its answers carry none.
	Reusable ReuseKind = "Reusable"
	// ReusableRenewed never spends a refresh token, and yet its answers carry a new one.
	ReusableRenewed ReuseKind = "ReusableRenewed"
)

// The grant types that the server knows, RFC 6749 sections 4.1.3, 4.4.2 and 6.
const (
	GrantClientCredentials = "client_credentials"
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token"
)

// ReusePolicy is what a registration does about spent refresh tokens.
type ReusePolicy struct {
	// Kind is Strict when empty.
	Kind ReuseKind
	// Grace is counted from the first spending; it ends early when a successor is spent. Wanted by the Grace kinds
	// and by no other.
	Grace time.Duration
	// AfterGrace is what a Grace kind does once the grace is over: Strict, RevokeFamily (when empty) or RevokeUser.
	AfterGrace ReuseKind
}

// Registration is one client as the provider knows it.
type Registration struct {
	Contract     Contract
	ClientID     string
	ClientSecret string
	// Scopes are fixed here; nothing beyond them can be had. A Smartbills registration without any is not limited
	// by scope at the API.
	Scopes []string
	// RedirectURIs are compared byte by byte.
	RedirectURIs []string
	// AccessTokenLifetime is whole seconds; by default what the contract documents, 12 h or 1 h.
	AccessTokenLifetime time.Duration
	// Accounts are those that a Smartbills client may name in on-behalf-of.
	Accounts []string
	// Grants limits the grant types; all three when empty. Anything else is refused as unauthorized_client.
	Grants []string
	Reuse  ReusePolicy
	// PKCE makes code_challenge (S256 only) and code_verifier required. Without it both are refused.
	PKCE bool
	// AllowBasic admits HTTP Basic authentication at the token endpoint, encoded as RFC 6749 section 2.3.1 says.
	AllowBasic bool
	// Parameters are wanted in the body of every token request besides those of the contract, such as an audience: each name
	// with one of its values. Another value is refused as invalid_target (RFC 8707). Neither contract has any; other providers
	// do.
	Parameters map[string][]string
	// NameUser has the answers to codes and refreshes say whose access it is, as account_id. Neither contract documents it;
	// other providers do so.
	NameUser bool
}

// Options describe a server.
type Options struct {
	// Listen is a TCP address, "127.0.0.1:0" when empty.
	Listen string
	// ControlListen is the address of the control API, loopback only. There is none when it is empty.
	ControlListen string
	// TLS serves https with a certificate of a CA that is made on the spot; see Server.CAPEM.
	TLS bool
	// Hosts are names and addresses that the certificate covers besides localhost, 127.0.0.1 and ::1.
	Hosts []string
	// LoginHost is another name of this machine, where people log in and answer: the authorization endpoint sends them there,
	// and the page there sends its form back across sites. It is for servers with TLS. Empty: the endpoint itself asks.
	LoginHost string
	// LedgerFile is appended to. When it is empty the ledger lives in a nameless temporary file.
	LedgerFile string
	// Clock gives the time of tokens and of the ledger. Scripted delays pass in real time, whatever it says.
	Clock clock.PassiveClock
	// Retention is how long tokens and codes are remembered after their end, 1 h by default. A spent refresh
	// token that is presented later than that is merely unknown.
	Retention     time.Duration
	Registrations []Registration
}

const (
	codeLifetime             = time.Minute
	defaultRetention         = time.Hour
	smartBusinessAccessToken = 12 * time.Hour
	smartbillsAccessToken    = time.Hour
)

// prepareRegistration checks a registration and fills in what it leaves open.
func prepareRegistration(r Registration) (*Registration, error) {
	switch r.Contract {
	case SmartBusiness:
		if r.AccessTokenLifetime == 0 {
			r.AccessTokenLifetime = smartBusinessAccessToken
		}
		if len(r.Scopes) == 0 {
			return nil, errors.New("a SmartBusiness registration needs scopes")
		}
		if len(r.Accounts) > 0 {
			return nil, errors.New("accounts belong to Smartbills")
		}
	case Smartbills:
		if r.AccessTokenLifetime == 0 {
			r.AccessTokenLifetime = smartbillsAccessToken
		}
	default:
		return nil, fmt.Errorf("unknown contract %q", r.Contract)
	}
	if r.ClientID == "" || r.ClientSecret == "" {
		return nil, errors.New("client id and client secret are required")
	}
	if r.AccessTokenLifetime < time.Second || r.AccessTokenLifetime%time.Second != 0 {
		return nil, errors.New("the access token lifetime must be whole seconds, at least one")
	}
	if _, ok := parseScope(strings.Join(r.Scopes, " ")); !ok && len(r.Scopes) > 0 {
		return nil, errors.New("a scope is empty, has a space in it or stands twice")
	}
	if err := r.checkRequests(); err != nil {
		return nil, err
	}
	var err error
	r.Reuse, err = r.Reuse.prepare()
	return &r, err
}

// checkRequests finds fault with what token requests are held against.
func (r *Registration) checkRequests() error {
	for name, values := range r.Parameters {
		if name == "" || len(values) == 0 {
			return errors.New("a parameter has no name, or no value that it may have")
		}
	}
	for _, grant := range r.Grants {
		if !knownGrant(grant) {
			return fmt.Errorf("unknown grant %q", grant)
		}
	}
	return nil
}

func (p ReusePolicy) prepare() (ReusePolicy, error) {
	graceful := false
	switch p.Kind {
	case "":
		p.Kind = Strict
	case Strict, RevokeFamily, RevokeUser, Reusable, ReusableRenewed:
	case GraceSameSuccessor, GraceSeveral, GraceOnlyLast:
		graceful = true
	default:
		return p, fmt.Errorf("unknown reuse kind %q", p.Kind)
	}
	if graceful != (p.Grace > 0) {
		return p, errors.New("a grace above zero is wanted by the Grace kinds, and by no other")
	}
	if !graceful {
		if p.AfterGrace != "" {
			return p, errors.New("what happens after the grace can be said for the Grace kinds only")
		}
		return p, nil
	}
	if p.AfterGrace == "" {
		p.AfterGrace = RevokeFamily
	}
	if !slices.Contains([]ReuseKind{Strict, RevokeFamily, RevokeUser}, p.AfterGrace) {
		return p, fmt.Errorf("%q cannot follow a grace", p.AfterGrace)
	}
	return p, nil
}

func knownGrant(grant string) bool {
	return grant == GrantClientCredentials || grant == GrantAuthorizationCode || grant == GrantRefreshToken
}

// allows reports whether the registration may use the grant.
func (r *Registration) allows(grant string) bool {
	return len(r.Grants) == 0 || slices.Contains(r.Grants, grant)
}

// parseScope splits a scope as RFC 6749 section 3.3 writes it: one space between, none around, none twice.
func parseScope(scope string) ([]string, bool) {
	scopes := strings.Split(scope, " ")
	for i, each := range scopes {
		if each == "" || slices.Contains(scopes[:i], each) {
			return nil, false
		}
	}
	return scopes, true
}

// within reports whether every wanted scope is among the granted ones.
func within(wanted, granted []string) bool {
	return !slices.ContainsFunc(wanted, func(each string) bool { return !slices.Contains(granted, each) })
}
