// Package plugin is kubectl oauth: it shows the state of accounts to people, and does with their own rights what the
// documents otherwise have them type. It works from what the API server says.
//
// It must never talk to anybody but the API server, print what a server wrote without cleaning it, take a secret as an
// argument, hand a link to a shell, or do by itself what may cost a consent without saying so first.
package plugin
