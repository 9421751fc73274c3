module peers.example/go

go 1.19
