-- garun.crypto against published test vectors.
local t <const> = require "garun.test"
local crypto <const> = require "garun.crypto"

t.test("digests give the published values (FIPS 180)", function()
  t.equal(crypto.sha256 "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  t.equal(crypto.sha256 "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
  t.equal(crypto.sha1 "abc", "a9993e364706816aba3e25717850c26c9cd0d89d")
  t.equal(crypto.sha512("abc"):sub(1, 32), "ddaf35a193617abacc417349ae204131")
end)

t.test("hmac_sha256 gives the values of RFC 4231", function()
  t.equal(crypto.hmac_sha256("Jefe", "what do ya want for nothing?"),
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
  t.equal(crypto.hmac_sha256(("\xaa"):rep(131), "Test Using Larger Than Block-Size Key - Hash Key First"),
    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
  t.equal(crypto.hmac_sha256("", ""), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad")
end)

t.test("xxh128 gives the values of xxhsum", function()
  t.equal(crypto.xxh128 "", "99aa06d3014798d86001c324468d497f")
  t.equal(crypto.xxh128 "abc", "06b05ab6733a618578af5f94892f3950")
end)

t.test("a digest in parts equals the digest of the whole", function()
  local data <const> = ("some data "):rep(1000)
  for _, name in ipairs { "sha256", "sha512", "sha1", "xxh128" } do
    local d <close> = crypto[name]()
    for i = 1, #data, 777 do d:update(data:sub(i, i + 776)) end
    t.equal(d:final(), crypto[name](data), name)
  end
  t.equal(crypto.hmac_sha256("key"):update("a"):update("b"):final(), crypto.hmac_sha256("key", "ab"))
end)

t.test("a digest comes as hex, raw or base64", function()
  t.equal(#crypto.sha256("abc", "raw"), 32)
  t.equal(crypto.hex_encode(crypto.sha256("abc", "raw")), crypto.sha256 "abc")
  t.equal(crypto.sha256("abc", "base64"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")
  t.equal(crypto.sha256():update("abc"):final "raw", crypto.sha256("abc", "raw"))
  t.raises('form must be "hex", "raw" or "base64", got "hax"', crypto.sha256, "abc", "hax")
end)

t.test("a finished or closed digest says so", function()
  local d <const> = crypto.sha256()
  t.equal(tostring(d), "crypto.sha256(open)")
  d:final()
  t.raises("crypto%.sha256: the digest is finished", d.update, d, "x")
  d:close()
  d:close()
  t.raises("crypto%.sha256: the digest is closed", d.final, d)
  t.equal(tostring(d), "crypto.sha256(closed)")
  t.equal(getmetatable(d), false)
end)

t.test("nil and numbers are not data", function()
  t.raises("crypto%.sha256: data must be a string, got nil", crypto.sha256, nil)
  t.raises("data must be a string, got number", crypto.sha256, 12)
  t.raises("key must be a string, got nil", crypto.hmac_sha256, nil, "x")
  t.raises("data must be a string, got nil", crypto.hmac_sha256, "k", nil)
end)

t.test("base64 follows RFC 4648 and survives all bytes", function()
  for bytes, text in pairs {
    [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=", foobar = "Zm9vYmFy",
    ["\xfb\xff\xfe"] = "+//+",
  } do
    t.equal(crypto.base64_encode(bytes), text)
    t.equal(crypto.base64_decode(text), bytes)
  end
  t.equal(crypto.base64url_encode "\xfb\xff\xfe\xff", "-__-_w")
  t.equal(crypto.base64url_decode "-__-_w", "\xfb\xff\xfe\xff")
  t.equal(crypto.base64url_decode "-__-_w==", "\xfb\xff\xfe\xff")
  for n = 0, 300 do
    local bytes <const> = n == 0 and "" or crypto.random(n)
    t.equal(crypto.base64_decode(crypto.base64_encode(bytes)), bytes)
    t.equal(crypto.base64url_decode(crypto.base64url_encode(bytes)), bytes)
    t.equal(crypto.hex_decode(crypto.hex_encode(bytes)), bytes)
  end
end)

t.test("damaged base64 and hex are refused, without quoting what may be a key", function()
  for _, bad in ipairs {
    "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm9v\n", "Zm 9", "=", "====", "Z===", "Zm9-", "Zm=v",
  } do
    local e <const> = t.raises({ kind = "crypto", code = "base64" }, crypto.base64_decode, bad)
    t.ok(#bad < 3 or not e.message:find(bad, 1, true))
  end
  for _, bad in ipairs { "Z", "Zh", "Zg=", "Zm+v", "Zm9v=" } do
    t.raises({ code = "base64" }, crypto.base64url_decode, bad)
  end
  for _, bad in ipairs { "0", "0g", "0x", " 00 " } do t.raises({ code = "hex" }, crypto.hex_decode, bad) end
  t.equal(crypto.hex_decode "00fFA0", "\0\xff\xa0")
end)

t.test("random bytes differ and have the length asked for", function()
  t.equal(#crypto.random(16), 16)
  t.ok(crypto.random(16) ~= crypto.random(16))
  for _, bad in ipairs { 0, -1, 1.5, "8", 2 ^ 40 } do
    t.raises("n must be an integer from 1 to 1048576", crypto.random, bad)
  end
end)

t.test("equal compares strings", function()
  t.equal({ crypto.equal("abc", "abc"), crypto.equal("abc", "abd"), crypto.equal("abc", "ab"), crypto.equal("", "") },
    { true, false, false, true })
  t.raises("b must be a string, got nil", crypto.equal, "a", nil)
end)

---- signatures ----

local fs <const> = require "garun.fs"
local proc <const> = require "garun.proc"

local function openssl(...)
  local r <const> = proc.run { "openssl", ... }
  if r.status ~= 0 then error(r.stderr) end
  return r.stdout
end

t.test("sign RS256 gives what openssl verifies, from PKCS#8 and PKCS#1 keys", function()
  local dir <const> = t.tmpdir()
  local data <const> = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0\0\xff"
  for _, bits in ipairs { "2048", "3072" } do
    local key <const>, public <const>, old <const> = dir .. "/key.pem", dir .. "/public.pem", dir .. "/old.pem"
    openssl("genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:" .. bits, "-out", key)
    openssl("pkey", "-in", key, "-pubout", "-out", public)
    openssl("pkey", "-in", key, "-traditional", "-out", old)
    fs.write(dir .. "/data", data)
    for _, path in ipairs { key, old } do
      local sig <const> = crypto.sign("RS256", fs.read(path), data)
      t.equal(#sig, tonumber(bits) // 8)
      t.equal(sig, crypto.sign("RS256", fs.read(path):gsub("\n", "\r\n"), data))
      fs.write(dir .. "/sig", sig)
      t.match(openssl("dgst", "-sha256", "-verify", public, "-signature", dir .. "/sig", dir .. "/data"), "Verified OK")
    end
    local r <const> = proc.run { "openssl", "dgst", "-sha256", "-verify", public, "-signature", dir .. "/sig", key }
    t.ok(r.status ~= 0, "another text does not verify")
  end
end)

t.test("sign refuses other keys and says why, without quoting them", function()
  local dir <const> = t.tmpdir()
  local function key(name, ...)
    openssl("genpkey", "-quiet", "-out", dir .. "/" .. name, ...)
    return fs.read(dir .. "/" .. name)
  end
  local function refused(pattern, pem)
    local e <const> = t.raises({ kind = "crypto", code = "key", retryable = false }, crypto.sign, "RS256", pem, "data")
    t.match(e.message, pattern)
    local body <const> = pem:match("\n(%w%w%w%w%w%w%w%w)")
    t.ok(not body or not tostring(e):find(body, 1, true))
  end
  refused("needs an RSA key, this one is EC", key("ec", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))
  refused("needs an RSA key", key("ed", "-algorithm", "ED25519"))
  refused("of 2048 to 16384 bits, this one has 1024", key("small", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"))
  refused("passphrase", key("locked", "-algorithm", "RSA", "-aes256", "-pass", "pass:secret"))
  local good <const> = key("good", "-algorithm", "RSA")
  refused("no private key in PEM", good:gsub("\n", "\\n"))
  refused("no private key in PEM", good:sub(1, 700) .. good:sub(720))
  refused("no private key in PEM", openssl("pkey", "-in", dir .. "/good", "-pubout"))
  refused("no private key in PEM", "")
  refused("larger than", ("x"):rep(2 << 20))
  t.raises('algorithm must be "RS256"', crypto.sign, "none", good, "data")
  t.raises("key must be a string, got nil", crypto.sign, "RS256", nil, "data")
end)
