# Lines of `scenario consumer rate cpu peak start engine table records` to a table of medians, and to JSON. See run.sh.
function sorted(list, count,   i, j, t) {
    for (i = 2; i <= count; i++)
        for (j = i; j > 1 && list[j] < list[j - 1]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
}
# Sets low, middle and high of one column of a row.
function spread(row, column,   i, list) {
    for (i = 1; i <= rounds[row]; i++) list[i] = value[row, column, i]
    sorted(list, rounds[row])
    low = list[1]; middle = list[int((rounds[row] + 1) / 2)]; high = list[rounds[row]]
}
function object(row, column) {
    spread(row, column)
    return sprintf("{\"min\":%.3f,\"median\":%.3f,\"max\":%.3f}", low, middle, high)
}
$3 == "wrong" { wrong[$1 " " $2]++; next }
{
    row = $1 " " $2
    if (!(row in rounds)) order[++rows] = row
    n = ++rounds[row]
    records[row] = $9
    for (column = 3; column <= 8; column++) value[row, column, n] = $column
}
END {
    printf "%-11s %-16s %10s %23s %12s %8s %9s %9s %9s %8s\n", "scenario", "consumer", "records/s", "lowest, highest",
        "CPU us/rec", "CPU s", "peak MiB", "start s", "engine s", "table s"
    for (i = 1; i <= rows; i++) {
        row = order[i]
        split(row, words, " ")
        spread(row, 3); rate = middle; range = sprintf("%.0f, %.0f", low, high)
        spread(row, 4); cpu = middle
        spread(row, 5); peak = middle
        spread(row, 6); start = middle
        spread(row, 7); engine = middle
        spread(row, 8); table = middle
        printf "%-11s %-16s %10.0f %23s %12.3f %8.2f %9.0f %9.2f %9.2f %8.2f%s\n", words[1], words[2], rate, range,
            cpu * 1e6 / records[row], cpu, peak, start, engine, table, (row in wrong ? "  " wrong[row] " runs wrong" : "")
        if (json != "") {
            printf "%s{\"name\":\"%s\",\"scenario\":\"%s\",\"records\":%d,\"rounds\":%d,\"records_per_s\":%s,\"cpu_s\":%s,\"peak_rss_mib\":%s,\"start_s\":%s,\"engine_cpu_s\":%s,\"table_cpu_s\":%s}",
                (i == 1 ? "{\"suite\":\"consumers\",\"settings\":{" settings "},\"rows\":[\n" : ",\n"), words[2], words[1], records[row], rounds[row],
                object(row, 3), object(row, 4), object(row, 5), object(row, 6), object(row, 7), object(row, 8) >json
        }
    }
    if (json != "" && rows > 0) print "\n]}" >json
    print "records/s: from the first record to the last; start: from the start of the process to its first record; CPU and memory of the"
    print "whole process, start included; engine, table: CPU time that its calls cost the engine and the lease table's server"
}
