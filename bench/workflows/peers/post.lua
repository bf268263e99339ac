-- wrk: each request is one execution with an input of its own.
local n = 0
request = function()
  n = n + 1
  return wrk.format("POST", nil, { ["content-type"] = "application/json" }, '{"n":' .. n .. '}')
end
