---@meta garun.smtp
--- Mails to a relay, over kept connections with TLS and login. One recipient a transaction, so that each has the relay's
--- own answer and queue id.
---
---     local smtp <const> = require "garun.smtp"
---     local relay <close> = smtp.connect { server = "relay.example", username = "shop", password = secret, connections = 4 }
---     local r <const> = relay:send(message, { to = "jane@shop.example" })
---     print(r.queue_id)                                       --> "4ABCD1234"
---
--- A failure has kind "smtp" and, beside the usual fields, two that decide what to do with the mail:
---
---   outcome  "not_sent"   the relay has no mail: it may be sent again
---            "rejected"   the relay has answered 4xx (retryable) or 5xx in this mail's transaction
---            "unknown"    the mail was sent to its end and no answer came: the relay may have it or not (RFC 1047)
---   stage    "connect", "banner", "ehlo", "starttls", "tls", "auth": of the connection, whatever the mail;
---            "mail", "rcpt", "data", "body", "dot": of the mail, where "dot" is the answer to its end; "noop" of check
---
--- code is the relay's three digits ("550"), or "connect" (no connection, or it broke), "tls" (certificate, handshake),
--- "no_starttls", "auth" (no login offered, or by other mechanisms only), "timeout", "unknown", "too_big", "8bit", "smtputf8"
--- (the relay does not take such a mail), "message" (bytes that are no mail), "closed". reply and enhanced ("5.1.1") are the
--- relay's. retryable is true for 4xx, "connect" and "timeout". A cancelled wait raises the cancellation; the mail is then
--- unknown when on_dot had run, else not sent.
---
--- Nothing is sent twice: only a kept connection that turns out to be closed at its first word is opened anew by itself.

local smtp = {}

---@class garun.smtp.Options
---@field server string host name, address, or the path of a Unix socket
---@field tls? "starttls"|"implicit"|"none" default "starttls", which is required, not tried; "none": clear text, and
---refused with a password unless the server is this machine
---@field port? integer default 587, 465 (implicit), 25 (none)
---@field username? string
---@field password? string registered as a secret of the log
---@field token? string an OAuth 2 access token instead of a password
---@field auth? string|string[] mechanisms allowed: PLAIN, LOGIN, CRAM-MD5, DIGEST-MD5, NTLM, XOAUTH2, OAUTHBEARER;
---default PLAIN and LOGIN, with a token XOAUTH2 and OAUTHBEARER
---@field ca? string file of the CA certificates (PEM), default: the system's
---@field cert? string file of a client certificate (PEM)
---@field key? string file of its key
---@field key_password? string
---@field pin? string "sha256//base64" of the server's public key
---@field hello? string what EHLO calls this machine, default its host name
---@field connections? integer at most so many at once, 1 to 100, default 1; more sends than that wait for their turn
---@field connect_timeout? number seconds until logged in, default 60
---@field timeout? number seconds for each answer, and that the relay may take no byte; default 300 (RFC 5321, 4.5.3.2)
---@field dot_timeout? number seconds for the answer to a mail's end, default 600: giving up earlier makes duplicates
---@field max_idle? number seconds after which an idle connection is not used any more, default 240

---@class garun.smtp.SendOptions
---@field to? string the one recipient, default: that of the message when it has only one
---@field from? string envelope sender, where bounces go; default: the message's; "" is the null sender
---@field on_dot? fun() called when the relay has all of the mail but its end. It may wait, for a database's commit; when it
---raises, the relay gets no end and hence no mail, and the error comes out of send
---@field progress? fun(sent: integer, total: integer) called after each 64 KiB of the mail; what it raises aborts the mail too

---@class garun.smtp.Result
---@field code integer 250
---@field enhanced? string "2.0.0"
---@field reply string the relay's text
---@field queue_id? string the relay's name for the mail, where its text is one of the usual ones

---@class garun.smtp.Client
local Client = {}

--- Sends a mail to one recipient and gives the relay's answer. Throttling and repeating are the caller's.
---@async
---@param message garun.mail.Message|string a string: a whole mail with CRLF line ends; needs opts.from and opts.to
---@param opts? garun.smtp.SendOptions
---@return garun.smtp.Result
function Client:send(message, opts) end

--- Makes sure that there is a connection with a login and that the relay answers (NOOP); sends no mail. Raises as send.
---@async
---@return { extensions: string[], max_size: integer? }
function Client:check() end

--- How many connections there are, may be, and have been opened.
---@return { idle: integer, connections: integer, opened: integer, closed: boolean }
---@nodiscard
function Client:status() end

--- Says QUIT on the idle connections and closes them, without waiting; those in use follow when their mail has ended.
function Client:close() end

--- Connects and logs in; what is wrong with the settings is raised here.
---@async
---@param options garun.smtp.Options
---@return garun.smtp.Client
---@nodiscard
function smtp.connect(options) end

return smtp
