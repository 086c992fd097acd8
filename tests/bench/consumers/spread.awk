# Lines of `name scenario unit value` to a table of median, lowest and highest, and to JSON. See leases.sh.
function sorted(list, count,   i, j, t) {
    for (i = 2; i <= count; i++)
        for (j = i; j > 1 && list[j] < list[j - 1]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
}
{
    row = $1 " " $2 " " $3
    if (!(row in count)) order[++rows] = row
    value[row, ++count[row]] = $4 + 0
}
END {
    printf "%-12s %-22s %-18s %9s %9s %9s %8s\n", "name", "scenario", "unit", "median", "lowest", "highest", "samples"
    for (i = 1; i <= rows; i++) {
        row = order[i]; n = count[row]
        split(row, words, " ")
        for (j = 1; j <= n; j++) list[j] = value[row, j]
        sorted(list, n)
        middle = list[int((n + 1) / 2)]
        printf "%-12s %-22s %-18s %9.2f %9.2f %9.2f %8d\n", words[1], words[2], words[3], middle, list[1], list[n], n
        if (json != "")
            printf "%s{\"name\":\"%s\",\"scenario\":\"%s\",\"unit\":\"%s\",\"values\":{\"min\":%.3f,\"median\":%.3f,\"max\":%.3f},\"samples\":%d}",
                (i == 1 ? "{\"suite\":\"consumer-leases\",\"settings\":{" settings "},\"rows\":[\n" : ",\n"), words[1], words[2], words[3],
                list[1], middle, list[n], n >json
    }
    if (json != "" && rows > 0) print "\n]}" >json
}
