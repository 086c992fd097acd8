# Lines of `milliseconds operation table` to lines of `library scenario unit value`, one for each window. See leases.sh.
BEGIN {
    count_of_libraries = split(libraries, library, " ")
    kind["UpdateItem"] = kind["PutItem"] = kind["DeleteItem"] = "writes"
    kind["Scan"] = kind["Query"] = "listings"
    kind["GetItem"] = "rows-read"
    fleets = split("1 2", fleet, " ")
    kinds = split("writes listings rows-read other", names, " ")
}
{
    number = int(($1 - from) / 1000 / seconds)
    if ($1 < from || number >= windows) next
    what = ($2 in kind) ? kind[$2] : "other"
    for (i = 1; i <= count_of_libraries; i++)
        for (f = 1; f <= fleets; f++) {
            application = library[i] "-" fleet[f]
            # With the tables that a library has besides.
            if ($3 == application || index($3, application "-") == 1) { count[application, what, number]++; seen[application] = 1 }
        }
}
END {
    for (i = 1; i <= count_of_libraries; i++)
        for (f = 1; f <= fleets; f++)
            for (k = 1; k <= kinds; k++)
                for (number = 0; number < windows; number++) {
                    application = library[i] "-" fleet[f]
                    if (!(application in seen)) continue
                    per = names[k] == "writes" ? shards : fleet[f]
                    printf "%s %d-workers-%s %s %.3f\n", library[i], fleet[f], names[k],
                        (names[k] == "writes" ? "per-shard-minute" : "per-worker-minute"), count[application, names[k], number] * 60 / seconds / per
                }
}
