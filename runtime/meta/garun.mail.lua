---@meta garun.mail
--- Mails as bytes: headers, text and HTML, inline images, attachments. Sending them is garun.smtp.
---
---     local mail <const> = require "garun.mail"
---     local m <const> = mail.compose {
---       from = { name = "Übersicht", address = "reports@shop.example" },
---       to = "Jane Doe <jane@shop.example>",
---       subject = "Umsätze KW 45",
---       text = "Der Umsatz ...", html = "<p>Der Umsatz ... <img src='cid:chart'>",
---       inline = { { cid = "chart", type = "image/png", data = png } },
---       attachments = { { name = "umsätze.csv", type = "text/csv; charset=utf-8", data = csv } },
---     }
---     fs.write("mail.eml", m.bytes)
---
--- All text is UTF-8 and leaves as quoted-printable or base64 in lines of at most 76 bytes, all lines end with CRLF. A
--- header or address with a line break, NUL or another control character, or with invalid UTF-8, is an error that names
--- the field; nothing is cut or replaced. Errors have kind "mail"; unknown options kind "usage".
---
--- The same table with the same date and message_id gives the same bytes. Store them, and send them again as they are
--- when a delivery is to be repeated: a mail that is composed anew is another mail to whoever has got the first one.

local mail = {}

---@class garun.mail.Address
---@field name? string shown to the reader
---@field address string "a@b.example"; the domain may be Unicode (IDNA) and comes out in ASCII

--- A text is "a@b.example" or "Name <a@b.example>"; { name, address } without names of fields is taken too.
---@alias garun.mail.AddressLike string|garun.mail.Address

---@class garun.mail.Attachment
---@field name string 1 to 255 bytes, no / and \; Unicode is encoded (RFC 2231), with an ASCII name for old readers
---@field data string the bytes
---@field type? string "text/csv; charset=utf-8", default "application/octet-stream"

---@class garun.mail.Inline
---@field cid string html shows it as <img src="cid:...">
---@field data string the bytes
---@field type? string "image/png" ..., default "application/octet-stream"
---@field name? string

---@class garun.mail.Spec
---@field from garun.mail.AddressLike
---@field to garun.mail.AddressLike|garun.mail.AddressLike[]
---@field cc? garun.mail.AddressLike|garun.mail.AddressLike[]
---@field reply_to? garun.mail.AddressLike|garun.mail.AddressLike[]
---@field sender? garun.mail.AddressLike who sends it, when that is not who it is from
---@field subject? string
---@field text? string text or html is needed; with both they are alternatives of each other
---@field html? string
---@field inline? garun.mail.Inline[] needs html
---@field attachments? garun.mail.Attachment[]
---@field date? number seconds since 1970, default now; written in UTC
---@field message_id? string "<something@domain>", default: a new UUID (version 7) at the domain
---@field domain? string of the message_id that is made, default: that of from
---@field boundary? string seed of the boundaries between the parts, default: the message_id
---@field auto_submitted? boolean|"auto-generated"|"auto-replied" true: "auto-generated"; out-of-office robots are silent then
---@field list_id? string "reports.shop.example" (RFC 2919)
---@field list_unsubscribe? string|string[] https: and mailto: URLs (RFC 2369), never folded
---@field list_unsubscribe_post? boolean true: one click is enough (RFC 8058); needs an https URL
---@field headers? table<string, string> more headers, in the order of their names; those that have an option of their own,
---that describe the content or that only relays may write are refused

---@class garun.mail.Message
---@field bytes string the mail
---@field message_id string
---@field from string the address, for the envelope
---@field recipients string[] addresses of to and cc
---@field smtputf8 boolean an address has letters beyond ASCII before its @: only relays with SMTPUTF8 take such a mail

--- Makes a mail. multipart/mixed { multipart/alternative { text, multipart/related { html, inline } }, attachments }, as far
--- as there is something for each.
---@param spec garun.mail.Spec
---@return garun.mail.Message
---@nodiscard
function mail.compose(spec) end

--- Checks an address as compose does (RFC 5321: at most 64 bytes before the @, 254 in all) and gives its parts, the domain
--- in ASCII. Raises kind "mail", code "address".
---
---     mail.address "Ann <ann@bücher.example>"     --> { name = "Ann", address = "ann@xn--bcher-kva.example" }
---@param value garun.mail.AddressLike
---@return garun.mail.Address
---@nodiscard
function mail.address(value) end

return mail
