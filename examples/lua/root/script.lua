-- Fibonacci numbers, a file that is written and read again, and what time it is.
local count = tonumber(arg[1])
local a, b = 0, 1
local numbers = {}
for index = 1, count do
  numbers[index] = a
  a, b = b, a + b
end
print(table.concat(numbers, " "))

local file = assert(io.open("/tmp/numbers", "w"))
for index, number in ipairs(numbers) do
  file:write(index, " ", number, "\n")
end
file:close()

local lines = 0
for line in io.lines("/tmp/numbers") do
  lines = lines + 1
end
print(lines .. " lines in /tmp/numbers, the square root of 2 is " .. string.format("%.12f", math.sqrt(2)))
print(_VERSION .. ", " .. (collectgarbage("count") < 1024 and "less than a MiB" or "more than a MiB") .. " in use")
